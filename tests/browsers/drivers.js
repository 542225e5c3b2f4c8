/* Three real browsers with one interface: launch(engine) → { name, visit(url), open(url), close() }. visit waits for a page's
 * report. open returns a page to drive: { evaluate, click, press, drag, upload, go, back, reload, screenshot, close }. Puppeteer
 * drives Chromium and Firefox, W3C WebDriver over HTTP drives WebKitGTK's MiniBrowser. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import puppeteer from 'puppeteer-core';
import { freePort } from '../../tools/serve.js';

const MINI_BROWSER = '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser';

/** The programs that each engine needs, and their Debian packages. */
const ENGINES = {
  chromium: { files: [process.env.CHROMIUM ?? '/usr/bin/chromium'], packages: 'chromium', launch: launchPuppeteer },
  firefox: { files: [process.env.FIREFOX ?? '/usr/bin/firefox-esr'], packages: 'firefox-esr', launch: launchPuppeteer },
  webkit: {
    files: [process.env.MINI_BROWSER ?? MINI_BROWSER, '/usr/bin/WebKitWebDriver', '/usr/bin/Xvfb'],
    packages: 'webkit2gtk-driver libwebkit2gtk-4.1-0 xvfb',
    launch: launchWebKit,
  },
};
const known = Object.keys(ENGINES);
const named = (process.env.BROWSERS ?? '').split(/[\s,]+/).filter(Boolean);
/** Whether all engines are used, or only those in BROWSERS, as in BROWSERS="chromium firefox". */
export const all = named.length === 0;
export const engines = all ? known : named;

/** Launches a browser. If it is missing, fails with the command that installs it. */
export function launch(engine, options = {}) {
  const { files, packages, launch: start } = ENGINES[engine] ?? assert.fail(`no engine ${engine}: ${known.join(', ')}`);
  for (const file of files)
    try {
      accessSync(file);
    } catch {
      throw new Error(`${engine} is missing (${file}). On Debian: sudo apt-get install ${packages}`);
    }
  return start(files[0], { engine, ...options });
}

/** Waits until the page's script has left a report. */
async function poll(read, seconds) {
  for (let k = 0; k < 10 * seconds; k++) {
    const report = await read();
    if (report) return JSON.parse(report);
    await setTimeout(100);
  }
  throw new Error(`the page left no report within ${seconds} seconds`);
}
const READ = 'globalThis.report ? JSON.stringify(globalThis.report) : null';

async function launchPuppeteer(executablePath, { engine, withoutSimd = false }) {
  const flags =
    '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync ' +
    '--use-fake-device-for-media-stream --use-fake-ui-for-media-stream';
  const browser = await puppeteer.launch({
    browser: engine === 'firefox' ? 'firefox' : 'chrome',
    executablePath,
    headless: true,
    // A fake camera, used without asking for permission.
    extraPrefsFirefox: { 'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true },
    args: engine === 'firefox' ? [] : flags.split(' ').concat(withoutSimd ? ['--js-flags=--no-enable-ssse3'] : []),
  });
  return {
    name: (await browser.version()).replace('/', ' '),
    /** The port at which other programs can drive Chromium. */
    port: Number(new URL(browser.wsEndpoint()).port),
    async visit(url, seconds = 120) {
      const page = await browser.newPage();
      const errors = [];
      page.on('pageerror', (error) => errors.push(String(error)));
      page.on('requestfailed', (request) => errors.push(`${request.url()} failed`));
      try {
        await page.goto(url);
        return await poll(() => page.evaluate(READ), seconds);
      } catch (error) {
        throw new Error(`${url}: ${error.message} ${errors.join('; ')}`);
      } finally {
        await page.close();
      }
    },
    async open(url, { width = 1200, height = 900 } = {}) {
      const page = await browser.newPage();
      await page.setViewport({ width, height });
      await page.goto(url);
      /** Lets the page navigate. In Firefox the driver's own way hangs if the address has a fragment or the page is cached. */
      const leave = async (run, ...args) => {
        await page.evaluate(() => {
          globalThis.left = true;
        });
        await page.evaluate(run, ...args);
        for (let k = 0; k < 300; k++) {
          await setTimeout(100);
          // During the navigation there is no page that could answer.
          const arrived = await page.evaluate(() => !globalThis.left && document.readyState === 'complete').catch(() => false);
          if (arrived) return;
        }
        throw new Error(`${page.url()} was not left`);
      };
      return {
        evaluate: (run, ...args) => page.evaluate(run, ...args),
        click: (selector) => page.click(selector),
        async press(selector, key) {
          if (selector) await page.focus(selector);
          await page.keyboard.press(key);
        },
        /** Drags between places of an element, which are fractions of its width and height. */
        async drag(selector, ...places) {
          const node = await page.$(selector);
          await node.scrollIntoView();
          const { x, y, width, height } = await node.boundingBox();
          const [from, to] = places.map(([right, down]) => [x + right * width, y + down * height]);
          await page.mouse.move(...from);
          await page.mouse.down();
          await page.mouse.move(...to, { steps: 5 });
          await page.mouse.up();
        },
        upload: async (selector, ...files) => (await page.$(selector)).uploadFile(...files),
        go: (address) => leave((to) => void globalThis.setTimeout(() => location.assign(to)), address),
        async back() {
          await page.evaluate(() => void globalThis.setTimeout(() => history.back()));
          await setTimeout(500);
        },
        reload: () => leave(() => void globalThis.setTimeout(() => location.reload())),
        /** A screenshot of an element, or of the whole page. */
        screenshot: async (selector, path) =>
          selector ? (await page.$(selector)).screenshot({ path }) : page.screenshot({ path, fullPage: true }),
        close: () => page.close(),
      };
    },
    close: () => browser.close(),
  };
}

/** The keys that tests press, with their WebDriver codes. */
const KEYS = {
  Tab: '\ue004',
  Enter: '\ue007',
  End: '\ue010',
  Home: '\ue011',
  PageUp: '\ue00e',
  ArrowLeft: '\ue012',
  ArrowRight: '\ue014',
  ' ': ' ',
};
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

async function launchWebKit(binary, { withoutSimd = false, sharing = false }) {
  // Xvfb chooses a free display itself, and prints its number when it is ready.
  const screen = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '1280x1900x24'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [display] = await once(screen.stdout, 'data');
  const env = { ...process.env, DISPLAY: `:${String(display).trim()}`, LC_ALL: 'en_US.UTF-8' };
  if (withoutSimd) env.JSC_useWasmSIMD = '0';
  // By default, WebKitGTK has no SharedArrayBuffer.
  if (sharing) env.JSC_useSharedArrayBuffer = '1';
  const port = await freePort();
  const processes = [screen, spawn('WebKitWebDriver', [`--port=${port}`], { stdio: 'ignore', env })];
  const stop = () => processes.forEach((child) => void child.kill());
  const ask = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`WebKitWebDriver: ${value.error} ${value.message}`);
    return value;
  };
  try {
    for (let k = 0; ; k++)
      try {
        await ask('GET', '/status');
        break;
      } catch (error) {
        if (k === 100) throw error;
        await setTimeout(100);
      }
    const { sessionId, capabilities } = await ask('POST', '/session', {
      capabilities: {
        alwaysMatch: { browserName: 'MiniBrowser', 'webkitgtk:browserOptions': { binary, args: ['--automation'] } },
      },
    });
    const session = `/session/${sessionId}`;
    const find = async (selector) =>
      (await ask('POST', `${session}/element`, { using: 'css selector', value: selector }))[ELEMENT];
    // Scrolls without animation, since the driver does not wait until a smooth scroll ends.
    const bring = (selector, then = '') =>
      ask('POST', `${session}/execute/sync`, {
        script: `const element = document.querySelector(arguments[0]);
          element.scrollIntoView({ behavior: 'instant', block: 'center' }); ${then}`,
        args: [selector],
      });
    return {
      name: `WebKitGTK ${capabilities.browserVersion}`,
      async visit(url, seconds = 120) {
        await ask('POST', `${session}/url`, { url });
        return poll(() => ask('POST', `${session}/execute/sync`, { script: `return ${READ}`, args: [] }), seconds);
      },
      async open(url, { width = 1200, height = 900 } = {}) {
        await ask('POST', `${session}/window/rect`, { width, height });
        await ask('POST', `${session}/url`, { url });
        return {
          async evaluate(run, ...args) {
            const call = typeof run === 'string' ? `(0, eval)(${JSON.stringify(run)})` : `(${run})(...args)`;
            const script = `const args = [...arguments], done = args.pop();
              (async () => ${call})().then((value) => done({ value }), (error) => done({ error: String(error) }));`;
            const { value, error } = await ask('POST', `${session}/execute/async`, { script, args });
            if (error) throw new Error(error);
            return value ?? undefined;
          },
          async click(selector) {
            await bring(selector);
            await ask('POST', `${session}/element/${await find(selector)}/click`, {});
          },
          async press(selector, key) {
            const keys = [
              { type: 'keyDown', value: KEYS[key] },
              { type: 'keyUp', value: KEYS[key] },
            ];
            if (selector) await bring(selector, 'element.focus()');
            await ask('POST', `${session}/actions`, { actions: [{ type: 'key', id: 'keyboard', actions: keys }] });
          },
          async drag(selector, ...places) {
            await bring(selector);
            const { x, y, width, height } = await ask('POST', `${session}/execute/sync`, {
              script: `const { x, y, width, height } = document.querySelector(arguments[0]).getBoundingClientRect();
                return { x, y, width, height };`,
              args: [selector],
            });
            const moves = places.map(([right, down]) => ({
              type: 'pointerMove',
              duration: 100,
              origin: 'viewport',
              x: Math.round(x + right * width),
              y: Math.round(y + down * height),
            }));
            const actions = [moves[0], { type: 'pointerDown', button: 0 }, moves[1], { type: 'pointerUp', button: 0 }];
            const mouse = { type: 'pointer', id: 'mouse', parameters: { pointerType: 'mouse' }, actions };
            await ask('POST', `${session}/actions`, { actions: [mouse] });
          },
          go: (address) => ask('POST', `${session}/url`, { url: address }),
          back: () => ask('POST', `${session}/back`, {}),
          reload: () => ask('POST', `${session}/refresh`, {}),
          upload: async (selector, ...files) =>
            ask('POST', `${session}/element/${await find(selector)}/value`, { text: files.join('\n') }),
          async screenshot(selector, path) {
            // Shows the whole window. In a screenshot of the element alone, parts that were off the screen are black.
            await bring(selector, 'element.scrollIntoView({ behavior: "instant", block: "start" })');
            const png = await ask('GET', `${session}/screenshot`);
            await writeFile(path, Buffer.from(png, 'base64'));
          },
          close: () => ask('POST', `${session}/url`, { url: 'about:blank' }),
        };
      },
      async close() {
        await ask('DELETE', session).catch(() => {});
        stop();
      },
    };
  } catch (error) {
    stop();
    throw error;
  }
}
