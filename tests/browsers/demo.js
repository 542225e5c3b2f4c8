/* The demo in real browsers, driven as a visitor would: npm run test:demo, or BROWSERS="chromium" npm run test:demo. Numbers on
 * the page are compared with what double precision gives here. Screenshots go to tests/browsers/screenshots/. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import { convolve } from '../../demo/filters.js';
import { errorsAt } from '../../demo/methods.js';
import { builtInPictures, tensorOf } from '../../demo/pictures.js';
import { batchNormalization } from '../../js/index.js';
import { serve } from '../../tools/serve.js';
import { seededNormal } from '../data.js';
import { engines, launch } from './drivers.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const named = (process.env.BROWSERS ?? '').split(/[\s,]+/).filter(Boolean);
const screenshots = new URL('screenshots/', import.meta.url);
const temporary = mkdtempSync(join(tmpdir(), 'batchnorm-demo-'));
after(() => rmSync(temporary, { recursive: true, force: true }));

/* Runs before the page's own script: keeps what goes wrong, and when the first view has its numbers. The policy stops any
 * request to another place, and reports it. */
const WATCH = `<meta http-equiv="Content-Security-Policy"
  content="default-src 'self' blob: data:; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'">
<script>
  window.problems = [];
  addEventListener('error', (event) => problems.push(event.message ?? 'could not load ' + (event.target.src ?? event.target.href)), true);
  addEventListener('unhandledrejection', ({ reason }) => problems.push(String(reason)));
  addEventListener('securitypolicyviolation', ({ blockedURI }) => problems.push('request to ' + blockedURI));
  for (const method of ['error', 'warn']) console[method] = (...values) => problems.push(values.join(' '));
  (function look() {
    const rows = document.querySelector('#see-numbers')?.rows.length;
    if (rows > 0) window.firstView = performance.now();
    else requestAnimationFrame(look);
  })();
</script>`;
/* Below a path, as on GitHub Pages. */
const server = await serve(root, {
  under: '/some/where',
  rewrite: (_, text) => text.replace('<meta charset="utf-8">', `$&${WATCH}`),
});
after(() => server.close());

/* ---- what the page should say, in double precision --------------------------------------------------------------- */

/** Mean and variance of each channel. */
function momentsOf({ data, shape: [batch, channels, height, width] }) {
  const spatial = height * width;
  return Array.from({ length: channels }, (_, c) => {
    const values = Array.from({ length: batch }, (_, b) => [
      ...data.subarray((b * channels + c) * spatial, (b * channels + c + 1) * spatial),
    ]).flat();
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length };
  });
}

/** The table's rows for these batch moments, normalized with those. */
const rowsFor = (moments, { gamma = 1, beta = 0, epsilon = 1e-5, by = moments }) =>
  moments.map(({ mean, variance }, c) => {
    const scale = gamma / Math.sqrt(by[c].variance + epsilon);
    return [mean, Math.sqrt(variance), (mean - by[c].mean) * scale + beta, Math.sqrt(variance) * Math.abs(scale)];
  });

/** Numbers as the page writes them, within half a unit of its last digit. */
function assertNumbers(texts, expected, message) {
  assert.equal(texts.length, expected.length, `${message}: ${texts}`);
  texts.forEach((text, i) => {
    const value = Number(text.replace('−', '-'));
    assert.ok(Math.abs(value - expected[i]) <= 0.00051, `${message}: ${text}, not ${expected[i]}`);
  });
}

/** A picture of one colour, as a PNG file. */
function writePng(name, side, colour) {
  const crcs = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  const chunk = (type, body) => {
    const bytes = Buffer.concat([Buffer.from(type), body]);
    const numbers = Buffer.alloc(8);
    numbers.writeUInt32BE(body.length);
    numbers.writeInt32BE(~bytes.reduce((crc, byte) => crcs[(crc ^ byte) & 255] ^ (crc >>> 8), -1), 4);
    return Buffer.concat([numbers.subarray(0, 4), bytes, numbers.subarray(4)]);
  };
  const header = Buffer.from([0, 0, side >> 8, side & 255, 0, 0, side >> 8, side & 255, 8, 2, 0, 0, 0]);
  const row = [0, ...Array.from({ length: side }, () => colour).flat()];
  const body = deflateSync(Buffer.from(Array.from({ length: side }, () => row).flat()));
  const file = join(temporary, name);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  writeFileSync(file, Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', body), chunk('IEND', Buffer.alloc(0))]));
  return file;
}

/* ---- how a visitor acts ------------------------------------------------------------------------------------------ */

function visitor(page) {
  const until = async (condition, ...args) => {
    for (let k = 0; k < 300; k++) {
      if (await page.evaluate(condition, ...args)) return;
      await setTimeout(100);
    }
    const problems = await page.evaluate(() => (document.querySelector('iframe')?.contentWindow ?? window).problems?.join('; '));
    const status = await page.evaluate(() =>
      [...document.querySelectorAll('[role="status"]')].map((at) => at.textContent).join('; '),
    );
    assert.fail(`never came true: ${condition} ${args}; problems: ${problems}; status: ${status}`);
  };
  /** The page answers within two frames. */
  const frame = () =>
    page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done()))));
  return {
    ...page,
    until,
    frame,
    async text(selector) {
      await frame();
      return page.evaluate((at) => document.querySelector(at).textContent, selector);
    },
    /** The cells of a table's rows, without their names. */
    async cells(selector) {
      await frame();
      return page.evaluate(
        (at) => [...document.querySelector(at).rows].map((row) => [...row.cells].slice(1).map((cell) => cell.textContent)),
        selector,
      );
    },
    async press(selector, ...keys) {
      for (const key of keys) await page.press(selector, key);
    },
    choose: (selector, value) =>
      page.evaluate(
        (at, wanted) => {
          const select = document.querySelector(at);
          select.value = wanted;
          select.dispatchEvent(new Event('change', { bubbles: true }));
        },
        selector,
        value,
      ),
  };
}

const times = (count, value) => Array.from({ length: count }, () => value);

for (const engine of named.length > 0 ? named : engines)
  test(engine, async (t) => {
    const browser = await launch(engine);
    t.after(() => browser.close());
    // A browser just started draws its first page late: a later one is timed.
    await visitor(await browser.open(`${server.url}/demo/`)).until(() => window.firstView > 0);
    let page = null;
    let took = Number.POSITIVE_INFINITY;
    // More than one only where the machine is busy with something else.
    for (let tries = 0; tries < 3 && took >= 1000; tries++) {
      await page?.close();
      page = visitor(await browser.open(`${server.url}/demo/`, { height: 1800 }));
      await page.until(() => window.firstView > 0);
      took = await page.evaluate(() => window.firstView);
    }
    const pictures = builtInPictures();
    const batch = tensorOf(pictures);
    const moments = momentsOf(batch);

    await t.test('the first view is there within a second', async () => {
      t.diagnostic(`${browser.name}: first view after ${took.toFixed(0)} ms`);
      assert.ok(took < 1000, `${took} ms`);
      assert.match(await page.text('#backend'), /runs in WebAssembly/);
    });
    // The sections below start after the first view, this one last; a button has nothing to do before.
    await page.until(() => document.querySelector('#use-code').value !== '');

    await t.test('See it: numbers, sliders, modes', async () => {
      const numbers = async () => (await page.cells('#see-numbers')).flat();
      assertNumbers(await numbers(), rowsFor(moments, {}).flat(), 'at first');
      await page.press('#see-gamma', ...times(10, 'ArrowRight'));
      await page.press('#see-beta', ...times(6, 'ArrowLeft'));
      assertNumbers(await numbers(), rowsFor(moments, { gamma: 1.5, beta: -0.3 }).flat(), 'gamma 1.5, beta −0.3');
      assert.match(await page.text('#see-code'), /fill\(1\.5\)[\s\S]*fill\(-0\.3\)/);
      await page.press('#see-epsilon', 'End');
      assertNumbers(await numbers(), rowsFor(moments, { gamma: 1.5, beta: -0.3, epsilon: 10 }).flat(), 'epsilon 10');
      await page.click('#see-reset');

      // The night goes: training follows the batch, inference does not.
      await page.click('.picture:nth-child(3)');
      const fewer = momentsOf(tensorOf(pictures.filter(({ name }) => name !== 'night')));
      assertNumbers(await numbers(), rowsFor(fewer, {}).flat(), 'without the night');
      await page.click('input[name="see-mode"][value="inference"]');
      assertNumbers(await numbers(), rowsFor(fewer, { by: moments }).flat(), 'without the night, inference');
      await page.click('#see-reset');
      await page.click('input[name="see-mode"][value="training"]');
      assertNumbers(await numbers(), rowsFor(moments, {}).flat(), 'reset');

      const took = await page.evaluate(async () => {
        const slider = document.querySelector('#see-gamma');
        const samples = [];
        for (let k = 0; k < 20; k++) {
          slider.value = String(1 + k / 20);
          slider.dispatchEvent(new Event('input'));
          samples.push(
            await new Promise((done) => {
              // After the page's own callback of this frame: what it took is what is between.
              requestAnimationFrame((begin) => done(performance.now() - begin));
            }),
          );
        }
        return samples.sort((a, b) => a - b)[10];
      });
      t.diagnostic(`${browser.name}: a slider is answered within ${took.toFixed(1)} ms of its frame`);
      await page.click('#see-reset');
    });

    await t.test('See it: feature maps', async () => {
      await page.click('input[name="see-channels"][value="16"]');
      await page.until(() => document.querySelector('#see-numbers').textContent.includes('channel 0'));
      await page.press('#see-map', ...times(7, 'ArrowRight'));
      const maps = new Float32Array(8 * 8 * 48 * 48);
      for (let b = 0; b < 8; b++) maps.set(convolve(batch, b, 8), b * 8 * 48 * 48);
      const expected = rowsFor(momentsOf({ data: maps, shape: [8, 8, 48, 48] }), {})[7];
      assertNumbers((await page.cells('#see-numbers')).flat(), expected, 'channel 7');
      assert.match(await page.text('#see-time'), /shape \[8, 16, 48, 48\]/);
      await page.click('input[name="see-channels"][value="64"]');
      await page.until(() => document.querySelector('#see-time').textContent.includes('[8, 64, 48, 48]'));
      await shots('see-maps', '#see');
      await page.click('input[name="see-channels"][value="3"]');
      await page.until(() => document.querySelector('#see-time').textContent.includes('[8, 3, 96, 96]'));
    });

    await t.test('See it: the visitor’s own files, chosen and dropped', async () => {
      const colours = [
        [200, 100, 50],
        [0, 100, 250],
      ];
      const files = colours.map((colour, k) => writePng(`own-${k}.png`, 120, colour));
      const expected = momentsOf({
        data: Float32Array.from(colours.flat(), (value) => value / 255),
        shape: [2, 3, 1, 1],
      });
      await page.upload('#see-files', ...files);
      await page.until(() => document.querySelectorAll('.picture').length === 2);
      assertNumbers((await page.cells('#see-numbers')).flat(), rowsFor(expected, {}).flat(), 'two files');
      await page.click('#see-built-in');
      await page.until(() => document.querySelectorAll('.picture').length === 8);
      await page.evaluate(
        (contents) => {
          const transfer = new DataTransfer();
          contents.forEach((content, k) => {
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            transfer.items.add(new File([bytes], `dropped-${k}.png`, { type: 'image/png' }));
          });
          transfer.items.add(new File(['no picture'], 'letter.txt', { type: 'text/plain' }));
          const event = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.querySelector('#see-drop').dispatchEvent(event);
        },
        files.map((file) => readFileSync(file, 'base64')),
      );
      await page.until(() => document.querySelectorAll('.picture').length === 2);
      await page.until(() => /letter\.txt/.test(document.querySelector('#see-status').textContent));
      assertNumbers((await page.cells('#see-numbers')).flat(), rowsFor(expected, {}).flat(), 'two dropped files');
      await page.click('#see-built-in');
      await page.until(() => document.querySelectorAll('.picture').length === 8);
    });

    if (engine !== 'webkit')
      await t.test('See it: the camera, a pretended one', async () => {
        await page.click('#see-camera');
        await page.until(
          () => document.querySelectorAll('.picture').length === 8 && /now/.test(document.querySelector('.picture').textContent),
        );
        const means = (await page.cells('#see-numbers')).map(([mean]) => Number(mean));
        assert.ok(Math.max(...means) > 0.1, `not black: ${means}`);
        await page.click('#see-camera');
        assert.equal(await page.text('#see-camera'), 'Use the camera');
        await page.click('#see-built-in');
        await page.until(() => /sunset/.test(document.querySelector('.picture').textContent));
      });

    await t.test('Running statistics', async () => {
      let next;
      let mean;
      let variance;
      let last;
      let gap;
      const begin = () => {
        next = seededNormal(1, 3, 2);
        [mean, variance] = [0, 1];
      };
      const step = (size, momentum) => {
        const x = Float32Array.from({ length: size }, next);
        [last] = momentsOf({ data: x, shape: [size, 1, 1, 1] });
        const normalized = (value, m, v) => (value - m) / Math.sqrt(v + 1e-5);
        const squares = x.map((value) => (normalized(value, mean, variance) - normalized(value, last.mean, last.variance)) ** 2);
        gap = Math.sqrt(squares.reduce((sum, value) => sum + value, 0) / size);
        mean = momentum * mean + (1 - momentum) * last.mean;
        variance = momentum * variance + (1 - momentum) * last.variance;
      };
      const check = async (message) => {
        const shown = (await page.cells('#running-numbers')).flat().filter(Boolean);
        assertNumbers(shown, [mean, last.mean, 3, variance, last.variance, 4, gap], message);
      };
      begin();
      for (let k = 0; k < 60; k++) step(32, 0.1);
      await check('at first');
      await page.press('#running-momentum', ...times(5, 'ArrowRight'));
      await page.press('#running-size', ...times(5, 'ArrowLeft'));
      // What has passed, passes again under other conditions.
      begin();
      for (let k = 0; k < 60; k++) step(1, 0.15);
      await check('batches of one value');
      for (let k = 0; k < 3; k++) {
        await page.click('#running-step');
        step(1, 0.15);
      }
      await check('three more of them');
      assert.match(await page.text('[data-of="running-momentum"]'), /0\.15 of the old value \(PyTorch’s m: 0\.85\)/);
      await page.click('#running-go');
      await page.until(() => Number(document.querySelector('#running-count').textContent) > 66);
      await page.click('#running-go');
      const stopped = await page.text('#running-count');
      await setTimeout(200);
      assert.equal(await page.text('#running-count'), stopped);
      await page.press('#running-size', ...times(5, 'ArrowRight'));
      await page.press('#running-momentum', ...times(5, 'ArrowLeft'));
      await page.click('#running-reset');
      assert.equal(await page.text('#running-count'), '60');
    });

    await t.test('Break it', async () => {
      const normals = Float64Array.from({ length: 4096 }, seededNormal(1));
      await page.until(() => document.querySelector('#break-work').hidden);
      const value = (text) => {
        if (/NaN/.test(text)) return Number.NaN;
        const [digits, exponent] = text.split(' · 10');
        const plain = [...(exponent ?? '')].map((c) => '⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(c)).map((digit) => (digit < 0 ? '-' : digit));
        return Number(`${digits}e${plain.join('') || 0}`);
      };
      for (const [key, mean] of [
        ['Home', 0],
        ['End', 1e7],
      ]) {
        await page.press('#break-mean', key);
        const shown = (await page.cells('#break-numbers')).map(([error]) => value(error));
        // Engines' logarithms and cosines differ in the last digit, and so do the data.
        Object.entries(errorsAt(normals, mean)).forEach(([method, error], k) => {
          assert.equal(Number.isNaN(shown[k]), Number.isNaN(error), `${method} at ${mean}`);
          if (!Number.isNaN(error))
            assert.ok(shown[k] <= 2 * error && shown[k] >= error / 2, `${method} at ${mean}: ${shown[k]}, ${error}`);
        });
        assert.ok(shown[3] < 1e-6, 'this package keeps its digits');
      }
      assert.match(
        await page.text('#break-code'),
        /function onePass[\s\S]*function twoPass[\s\S]*function folded[\s\S]*function thisPackage/,
      );
      await page.choose('#break-mean', '4');
      await page.evaluate(() => document.querySelector('#break-mean').dispatchEvent(new Event('input')));
    });

    await t.test('Race', async () => {
      assert.equal(await page.evaluate(() => document.querySelector('#race-peers-label').hidden), true);
      await page.choose('#race-shape', '64, 512, 1, 1');
      await page.click('#race-go');
      await page.until(
        () => !document.querySelector('#race-table').hidden && !document.querySelector('#race-go').hasAttribute('aria-disabled'),
      );
      const rows = await page.cells('#race-numbers');
      assert.equal(rows.length, 5);
      for (const [time, speed, , error] of rows) {
        assert.match(time, /^[\d.]+ (ns|µs|ms)$/);
        assert.ok(Number(speed) > 0);
        assert.ok(error === '–' || Number(error) < 4, error);
      }
      await page.click('#race-share');
      await page.until(() => document.querySelector('#race-status').textContent !== '');
      const markdown = await page.evaluate(() => document.querySelector('#race-markdown').value);
      assert.match(markdown, /\| batchnorm, out reused \| [\d.]+ (ns|µs|ms) \|/);
      await page.choose('#race-shape', '8, 64, 56, 56');
      await page.click('#race-go');
      await page.until(() => !document.querySelector('#race-work').hidden);
      await page.click('#race-work button');
      await page.until(() => document.querySelector('#race-status').textContent === 'Stopped.');
      assert.match(await page.text('#race-bytes'), /16 source files/);
    });

    await t.test('Use it', async () => {
      await page.click('#use-run');
      await page.until(() => document.querySelector('#use-stop').disabled);
      // As the README says, and tests hold it to.
      assert.match(await page.text('#use-output'), /^Float32Array\(8\) \[-1\.341\d+, -0\.447/);
      await page.choose('#use-example', 'a gamma of the wrong length');
      await page.click('#use-run');
      await page.until(() => document.querySelector('#use-output .error') !== null);
      let words;
      try {
        batchNormalization({ data: new Float32Array(24), shape: [2, 3, 2, 2] }, [1, 1], [0, 0, 0]);
      } catch (error) {
        words = String(error);
      }
      assert.equal((await page.text('#use-output')).trim(), words);
      await page.evaluate(() => {
        document.querySelector('#use-code').value = 'for (;;);';
      });
      await page.click('#use-run');
      await page.until(() => !document.querySelector('#use-stop').disabled);
      await page.click('#use-stop');
      assert.match(await page.text('#use-output'), /Stopped/);
      await page.evaluate(() => {
        document.querySelector('#use-code').value = 'for (let i = 0; ; i++) console.log(i);';
      });
      await page.click('#use-run');
      await page.until(() => /no more is shown/.test(document.querySelector('#use-output').textContent));
      await page.click('#use-stop');
      assert.match(await page.text('#use-output'), /498\n… and no more is shown\nStopped/);
      await page.choose('#use-example', 'training, then inference');
      await page.click('#use-run');
      await page.until(() => document.querySelector('#use-stop').disabled);
    });

    await t.test('every control has a name', async () => {
      const nameless = await page.evaluate(() =>
        [...document.querySelectorAll('input, select, textarea')]
          .filter((control) => control.labels.length === 0 && !control.getAttribute('aria-label'))
          .map((control) => control.outerHTML),
      );
      assert.deepEqual(nameless, []);
    });

    await t.test('every control is reached by the keyboard', async () => {
      const all = await page.evaluate(() => {
        const seen = (node) =>
          node.getClientRects().length > 0 && !node.disabled && !node.closest('details:not([open]) > :not(summary)');
        const nodes = [...document.querySelectorAll('a, button, input, select, textarea, summary, [tabindex="0"]')].filter(seen);
        nodes.forEach((node, k) => {
          node.dataset.stop = String(k);
        });
        document.activeElement.blur();
        scrollTo(0, 0);
        // Of a group of radio buttons the chosen one is the stop.
        return nodes.filter((node) => node.type !== 'radio' || node.checked).map((node) => node.dataset.stop);
      });
      await page.evaluate(() => {
        window.reached = new Set();
        addEventListener('focusin', ({ target }) => window.reached.add(target.dataset.stop));
      });
      await page.press('.skip', 'Tab');
      for (let k = 0; k < all.length + 3; k++) await page.press('', 'Tab');
      const reached = await page.evaluate(() => [...window.reached]);
      const missed = all.filter((stop) => !reached.includes(stop));
      const which = await page.evaluate(
        (stops) => stops.map((stop) => document.querySelector(`[data-stop="${stop}"]`).outerHTML.slice(0, 80)),
        missed,
      );
      assert.deepEqual(which, []);
    });

    async function shots(name, selector) {
      mkdirSync(screenshots, { recursive: true });
      for (const theme of ['light', 'dark']) {
        await page.choose('#theme', theme);
        await page.frame();
        await page.screenshot(selector, fileURLToPath(new URL(`${engine}-${name}-${theme}.png`, screenshots)));
      }
    }

    await t.test('axe finds no fault, in light and dark', async () => {
      await page.evaluate(axe);
      await page.evaluate(() => {
        for (const details of document.querySelectorAll('details')) details.open = true;
      });
      for (const theme of ['light', 'dark']) {
        await page.choose('#theme', theme);
        const faults = await page.evaluate(async () =>
          (await window.axe.run()).violations.map(
            ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 90)).join(' ')}`,
          ),
        );
        assert.deepEqual(faults, [], theme);
      }
      await page.evaluate(() => {
        for (const details of document.querySelectorAll('details')) details.open = false;
      });
    });

    await t.test('pictures of each section', async () => {
      for (const name of ['see', 'running', 'break', 'race', 'use']) await shots(name, `#${name}`);
    });

    await t.test('nothing went wrong, and nothing was asked for in vain', async () => {
      assert.deepEqual(await page.evaluate(() => window.problems), []);
      // Some browsers ask for this by themselves.
      assert.deepEqual(
        server.missing.filter((path) => path !== '/favicon.ico'),
        [],
      );
    });
    await page.close();

    await t.test('on a phone’s width nothing scrolls sideways', async () => {
      // In a frame, since not every browser's window can be as narrow.
      const phone = visitor(await browser.open(`${server.url}/tests/browsers/phone.html`, { height: 1800 }));
      const inside = (run, ...args) =>
        phone.evaluate(
          (source, given) => {
            const frame = document.querySelector('iframe').contentWindow;
            return frame.eval(`(${source})`)(...given);
          },
          String(run),
          args,
        );
      // Null before the frame has its page. All sections have started when the last one has.
      await phone.until(() => document.querySelector('iframe').contentDocument.querySelector('#use-code')?.value);
      const beyond = () => inside(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(await inside(() => innerWidth), 360);
      assert.ok((await beyond()) <= 0);
      await inside(() => {
        for (const details of document.querySelectorAll('details')) details.open = true;
        document.querySelector('input[name="see-channels"][value="64"]').click();
        document.querySelector('#race-shape').value = '64, 512, 1, 1';
        document.querySelector('#race-go').click();
        document.querySelector('#use-run').click();
      });
      await phone.until(() => {
        const { document: inner } = document.querySelector('iframe').contentWindow;
        return inner.querySelector('#see-time').textContent.includes('64, 48') && !inner.querySelector('#race-table').hidden;
      });
      assert.ok((await beyond()) <= 0);
      await inside(() => {
        for (const details of document.querySelectorAll('details')) details.open = false;
        document.querySelector('input[name="see-channels"][value="3"]').click();
      });
      await phone.frame();
      for (const theme of ['light', 'dark']) {
        await inside((wanted) => {
          document.querySelector('#theme').value = wanted;
          document.querySelector('#theme').dispatchEvent(new Event('change'));
        }, theme);
        for (const name of ['see', 'running', 'break', 'race', 'use']) {
          const height = await inside((id) => {
            document.getElementById(id).scrollIntoView({ behavior: 'instant' });
            return document.getElementById(id).offsetHeight;
          }, name);
          await phone.evaluate((tall) => {
            document.querySelector('iframe').height = String(tall);
          }, height);
          await inside((id) => document.getElementById(id).scrollIntoView({ behavior: 'instant' }), name);
          await phone.frame();
          await phone.screenshot('iframe', fileURLToPath(new URL(`${engine}-${name}-phone-${theme}.png`, screenshots)));
        }
      }
      await phone.close();
    });
  });
