/* Tests the demo in real browsers, used the way a visitor would: npm run test:demo, or BROWSERS="chromium" npm run test:demo. Numbers
 * on the page are compared with results computed here in double precision. Screenshots are written to tests/browsers/screenshots/. */
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
import { gradientErrorsAt } from '../../demo/gradients.js';
import { errorsAt } from '../../demo/methods.js';
import { builtInPictures, tensorOf } from '../../demo/pictures.js';
import { batchNormalization } from '../../js/index.js';
import { serve } from '../../tools/serve.js';
import { seededNormal } from '../data.js';
import { engines, launch } from './drivers.js';
import { audit } from './lighthouse/lighthouse.js';
import { testTraining } from './train-tests.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const screenshots = new URL('screenshots/', import.meta.url);
const temporary = mkdtempSync(join(tmpdir(), 'batchnorm-demo-'));
after(() => rmSync(temporary, { recursive: true, force: true }));

/* Added to the page, before its own scripts. It records errors, warnings, and the time at which the first view is complete. The policy
 * blocks requests to other sites, and they are recorded, too. */
const WATCH = `<meta http-equiv="Content-Security-Policy"
  content="default-src 'self' blob: data:; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'">
<script>
  window.problems = [];
  addEventListener('error', (event) => problems.push(event.message ?? 'could not load ' + (event.target.src ?? event.target.href)), true);
  addEventListener('unhandledrejection', ({ reason }) => problems.push(String(reason)));
  addEventListener('securitypolicyviolation', ({ blockedURI }) => problems.push('request to ' + blockedURI));
  for (const method of ['error', 'warn']) console[method] = (...values) => problems.push(values.join(' '));
  (function checkFirstView() {
    const rows = document.querySelector('#break-numbers')?.rows.length;
    if (rows > 0 && document.querySelector('#break-plot .own-line path')) window.firstView = performance.now();
    else requestAnimationFrame(checkFirstView);
  })();
</script>`;
/* Serves the demo below a path, as GitHub Pages does. */
const server = await serve(root, {
  under: '/some/where',
  rewrite: (_, text) => text.replace('<meta charset="utf-8">', `$&${WATCH}`),
});
after(() => server.close());

/* ---- expected results, in double precision ----------------------------------------------------------------------- */

/** The mean and variance of each channel. */
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

/** The expected rows of the table: for a batch with these moments, normalized with the moments `by`. */
const rowsFor = (moments, { gamma = 1, beta = 0, epsilon = 1e-5, by = moments }) =>
  moments.map(({ mean, variance }, c) => {
    const scale = gamma / Math.sqrt(by[c].variance + epsilon);
    return [mean, Math.sqrt(variance), (mean - by[c].mean) * scale + beta, Math.sqrt(variance) * Math.abs(scale)];
  });

/** The running statistics after ten batches with these moments and momentum 0.9, starting with mean 0 and variance 1. */
const runningAfterTen = (moments) => {
  const old = 0.9 ** 10;
  return moments.map(({ mean, variance }) => ({ mean: (1 - old) * mean, variance: old + (1 - old) * variance }));
};

/** Asserts that numbers on the page match expected ones, to within half a unit of the last digit that the page shows. */
function assertNumbers(texts, expected, message) {
  assert.equal(texts.length, expected.length, `${message}: ${texts}`);
  texts.forEach((text, i) => {
    const value = Number(text.replace('−', '-'));
    assert.ok(Math.abs(value - expected[i]) <= 0.00051, `${message}: ${text}, not ${expected[i]}`);
  });
}

/** Writes a GIF file of one pixel with this many frames. */
function writeGif(name, frames) {
  const head = Buffer.from('GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff', 'latin1');
  const frame = Buffer.from('!\xf9\x04\0\x0a\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0', 'latin1');
  const file = join(temporary, name);
  writeFileSync(file, Buffer.concat([head, ...Array.from({ length: frames }, () => frame), Buffer.from(';')]));
  return file;
}

/** Writes a square PNG file of one colour. */
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

/* ---- a visitor's actions ----------------------------------------------------------------------------------------- */

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
    assert.fail(`this never became true: ${condition} ${args}; problems: ${problems}; status: ${status}`);
  };
  /** Waits for two frames. By then, the page has responded to the last action. */
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
    /** The texts of a table's cells, row by row, without the first column. */
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

const SECTIONS = ['break', 'see', 'train', 'running', 'race', 'use'];

/** Keeps the section in view until the network with batch normalization has learned its task. */
const trained = (visit) =>
  visit.until(() => {
    document.querySelector('#train .trials').scrollIntoView({ behavior: 'instant', block: 'center' });
    return Number.parseFloat(document.querySelector('#train-reading-with').textContent) > 95;
  });

const times = (count, value) => Array.from({ length: count }, () => value);

for (const engine of engines)
  test(engine, async (t) => {
    const browser = await launch(engine);
    t.after(() => browser.close());
    // A browser that has just started draws its first page slowly, so a later page is timed.
    await visitor(await browser.open(`${server.url}/demo/`)).until(() => window.firstView > 0);
    let page = null;
    let took = Number.POSITIVE_INFINITY;
    // Another try is only needed if the machine was busy with something else.
    for (let tries = 0; tries < 3 && took >= 1000; tries++) {
      await page?.close();
      page = visitor(await browser.open(`${server.url}/demo/`, { height: 1800 }));
      await page.until(() => window.firstView > 0);
      took = await page.evaluate(() => window.firstView);
    }
    const pictures = [...builtInPictures()];
    const batch = tensorOf(pictures);
    const moments = momentsOf(batch);

    await t.test('the first view is complete within a second', async () => {
      t.diagnostic(`${browser.name}: first view after ${took.toFixed(0)} ms`);
      assert.ok(took < 1000, `${took} ms`);
      assert.match(await page.text('#backend'), /runs in WebAssembly/);
    });
    /** Makes all sections start, by scrolling to the last one. A section starts when the visitor comes near; before that, its buttons do
     * nothing. */
    const ready = async (visit) => {
      await visit.until(() => document.querySelector('#use') !== null);
      // In each attempt, since a page that the browser restores scrolls back to where it was.
      await visit.until(() => {
        document.querySelector('#use').scrollIntoView({ behavior: 'instant' });
        return document.querySelector('#use-code').value !== '';
      });
      await visit.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }));
    };
    await ready(page);

    await t.test('See it: feature maps are shown first if there is room for them', async () => {
      assert.equal(await page.evaluate(() => document.querySelector('input[name="see-channels"]:checked').value), '16');
      await page.click('#see-reset');
      await page.until(() => document.querySelector('#see-time').textContent.includes('[8, 16, 48, 48]'));
      await page.click('input[name="see-channels"][value="3"]');
      await page.until(() => document.querySelector('#see-time').textContent.includes('[8, 3, 96, 96]'));
    });

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

      // Without the picture "night", training uses other statistics. Inference does not.
      await page.click('.picture:nth-child(3)');
      const fewer = momentsOf(tensorOf(pictures.filter(({ name }) => name !== 'night')));
      assertNumbers(await numbers(), rowsFor(fewer, {}).flat(), 'without the night');
      const running = runningAfterTen(moments);
      await page.click('input[name="see-mode"][value="inference"]');
      assertNumbers(await numbers(), rowsFor(fewer, { by: running }).flat(), 'without the night, inference');
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
              // This runs after the page's own callback of the same frame, which began at `begin`. So the difference is the page's time.
              requestAnimationFrame((begin) => done(performance.now() - begin));
            }),
          );
        }
        return samples.sort((a, b) => a - b)[10];
      });
      t.diagnostic(`${browser.name}: the page needs ${took.toFixed(1)} ms of a frame to respond to a slider`);
      await page.click('#see-reset');
    });

    await t.test('See it: feature maps', async () => {
      await page.click('input[name="see-channels"][value="16"]');
      await page.until(() => document.querySelector('#see-numbers').textContent.includes('channel 3'));
      await page.press('#see-map', 'Home', ...times(7, 'ArrowRight'));
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

    await t.test('See it: a few pictures stay together, and the page names animated and rejected files', async () => {
      await page.upload(
        '#see-files',
        writePng('one.png', 120, [200, 100, 50]),
        writeGif('moves.gif', 2),
        writeGif('still.gif', 1),
      );
      await page.until(() => document.querySelectorAll('.picture').length === 3);
      assert.equal(await page.text('#see-status'), 'Animated, so only the first frame is used: moves.gif.');
      const gaps = await page.evaluate(() => {
        const boxes = [...document.querySelectorAll('.picture')].map((picture) => picture.getBoundingClientRect());
        return boxes.slice(1).map(({ left }, k) => left - boxes[k].right);
      });
      assert.ok(Math.max(...gaps) < 80, `side by side: ${gaps}`);
      await page.evaluate(() => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(['<svg xmlns="http://www.w3.org/2000/svg"/>'], 'drawing.svg', { type: 'image/svg+xml' }));
        document.querySelector('#see-drop').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }));
      });
      await page.until(() => /drawing\.svg/.test(document.querySelector('#see-status').textContent));
      assert.match(await page.text('#see-status'), /PNG, JPEG, GIF, WebP, AVIF and BMP/);
      await page.click('#see-built-in');
      await page.until(() => document.querySelectorAll('.picture').length === 8);
    });

    await t.test('See it: an empty batch shows no results', async () => {
      await page.evaluate(() => {
        for (const picture of document.querySelectorAll('.picture')) picture.click();
      });
      assert.match(await page.text('#see-empty'), /^The batch is empty/);
      const visible = await page.evaluate(() => ({
        figure: document.querySelector('#see-figure').getClientRects().length,
        painted: [...document.querySelectorAll('.picture canvas:nth-child(2)')].filter((canvas) =>
          canvas
            .getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height)
            .data.some((byte) => byte !== 0),
        ).length,
      }));
      assert.deepEqual(visible, { figure: 0, painted: 0 });
      await page.click('#see-reset');
      assertNumbers(
        (await page.cells('#see-numbers')).flat(),
        rowsFor(moments, {}).flat(),
        'all pictures are in the batch again',
      );
    });

    if (engine !== 'webkit')
      await t.test('See it: the camera (a simulated device)', async () => {
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

    await testTraining(t, page);

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
      assert.match(await page.text('#running-note'), /With momentum 0\.15 \(in PyTorch 0\.85\)/);
      await page.press('#running-size', ...times(5, 'ArrowLeft'));
      // The batches so far are computed again with the new settings.
      begin();
      for (let k = 0; k < 60; k++) step(1, 0.15);
      await check('batches of one value');
      for (let k = 0; k < 3; k++) {
        await page.click('#running-step');
        step(1, 0.15);
      }
      await check('three more of them');
      assert.equal(await page.text('[data-of="running-momentum"]'), '0.15');
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
      await page.click('#running-one');
      assert.match(await page.text('#running-note'), /training gives beta, whatever the value/);
      assert.equal((await page.cells('#running-numbers'))[1][1], '0.000', 'one value has no variance');
      await page.press('#running-size', ...times(5, 'ArrowRight'));
      assert.equal(
        await page.evaluate(
          () => getComputedStyle(document.querySelector('#running-count').closest('table').rows[0].cells[0]).borderTopWidth,
        ),
        '0px',
        'there is no line above the first row',
      );
    });

    /** Parses a number as the page writes it. */
    const numberIn = (text) => {
      if (/NaN/.test(text)) return Number.NaN;
      const [digits, exponent] = text.split(' · 10');
      const plain = [...(exponent ?? '')].map((c) => '⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(c)).map((digit) => (digit < 0 ? '-' : digit));
      return Number(`${digits}e${plain.join('') || 0}`);
    };
    const normals = Float64Array.from({ length: 4096 }, seededNormal(1));
    const gradients = Float32Array.from({ length: 4096 }, seededNormal(2, 1));
    const steady = () => page.until(() => document.querySelector('#break-plot').getAttribute('aria-busy') === 'false');
    /** Asserts that the table shows these errors. Returns the texts of its cells. */
    async function assertErrors({ methods }, message) {
      const cells = await page.cells('#break-numbers');
      const shown = cells.map(([, error]) => numberIn(error));
      // The data differ slightly between engines, since their logarithms and cosines differ in the last digit.
      Object.entries(methods).forEach(([method, { error }], k) => {
        assert.equal(Number.isNaN(shown[k]), Number.isNaN(error), `${method}, ${message}`);
        if (!Number.isNaN(error))
          assert.ok(shown[k] <= 2 * error && shown[k] >= error / 2, `${method}, ${message}: ${shown[k]}, ${error}`);
      });
      assert.ok(shown[3] < 1e-6, 'this package keeps its digits');
      return cells;
    }
    const ENDS = [
      ['Home', 0],
      ['End', 1e7],
    ];

    await t.test('Break it', async () => {
      await steady();
      for (const [key, mean] of ENDS) {
        await page.press('#break-mean', key);
        await assertErrors(errorsAt(normals, mean), `at ${mean}`);
      }
      await page.evaluate(() => {
        document.querySelector('#break-code').closest('details').open = true;
      });
      await page.until(() => document.querySelector('#break-code').textContent.includes('function'));
      assert.match(
        await page.text('#break-code'),
        /function onePass[\s\S]*function twoPass[\s\S]*function folded[\s\S]*function thisPackage/,
      );
    });

    await t.test('Break it: dragged on the plot itself, by pointer and by keyboard', async () => {
      const mean = () => page.text('#break-at');
      for (const [key, at] of ENDS) {
        await page.press('#break-plot .mark', key);
        await assertErrors(errorsAt(normals, at), `${key} on the plot`);
      }
      assert.equal(await mean(), '10⁷');
      await page.press('#break-plot .mark', ...times(8, 'ArrowLeft'));
      assert.equal(await mean(), '10⁶');
      await page.press('#break-plot .mark', 'PageUp');
      assert.equal(await mean(), '10⁷');
      await page.drag('#break-plot', [0.97, 0.4], [0.5, 0.6]);
      const exponent = Number(await page.evaluate(() => document.querySelector('#break-mean').value));
      assert.ok(Math.abs(exponent - 3) <= 0.5, `the middle of the plot is near 10³: ${exponent}`);
      await assertErrors(errorsAt(normals, 10 ** exponent), 'where the pointer was released');
      assert.match(await page.text('#break-claim'), /this package 6\.$/);
      const mark = await page.evaluate(() => {
        const { left, width } = document.querySelector('#break-plot').getBoundingClientRect();
        return (document.querySelector('.mark').getBoundingClientRect().left - left) / width;
      });
      assert.ok(Math.abs(mark - 0.5) < 0.03, `the mark follows the pointer: ${mark}`);
      // Screen readers get the same value.
      assert.equal(await page.evaluate(() => document.querySelector('.mark').getAttribute('aria-valuenow')), String(exponent));
    });

    await t.test('Break it: the gradient', async () => {
      await page.click('input[name="break-of"][value="gradient"]');
      await steady();
      for (const [key, mean] of ENDS) {
        await page.press('#break-mean', key);
        const found = gradientErrorsAt(normals, gradients, mean);
        const cells = await assertErrors(found, `gradient at ${mean}`);
        const gradGamma = Number(cells[3][0].replace('−', '-'));
        assert.ok(Math.abs(gradGamma / found.expected - 1) < 1e-5, `gradGamma at ${mean}: ${gradGamma}`);
      }
      await page.until(() => document.querySelector('#break-code').textContent.includes('function savedMeanGradient'));
      await page.click('input[name="break-of"][value="output"]');
      await page.press('#break-mean', 'Home', ...times(40, 'ArrowRight'));
      assert.equal(await page.text('#break-at'), '10⁴');
      // The HTML has this text already, for the time before anything is computed.
      const [, written] = readFileSync(join(root, 'demo/index.html'), 'utf8').match(/id="break-claim"[^>]*>(.*)<\/p>/);
      assert.equal(await page.text('#break-claim'), written.replace(/<[^>]+>/g, ''));
      await page.evaluate(() => {
        document.querySelector('#break-code').closest('details').open = false;
      });
    });

    await t.test('Race', async () => {
      assert.equal(await page.evaluate(() => document.querySelector('#race-peers-label').hidden), true);
      await page.choose('#race-shape', '64, 512, 1, 1');
      await page.click('#race-go');
      await page.until(
        () => !document.querySelector('#race-table').hidden && !document.querySelector('#race-go').hasAttribute('aria-disabled'),
      );
      const rows = await page.cells('#race-numbers');
      const names = await page.evaluate(() => [...document.querySelectorAll('#race-numbers th')].map((name) => name.textContent));
      assert.equal(rows.length, 7);
      assert.ok(names.includes('batchnorm, in an arena'));
      for (const [time, speed, , near, far] of rows) {
        assert.match(time, /^[\d.]+ (ns|µs|ms)$/);
        assert.ok(Number(speed) > 0);
        for (const error of [near, far]) assert.ok(error === '–' || Number(error) < 4, error);
      }
      // The lengths of the bars are proportional to the speeds.
      const lengths = await page.evaluate(() =>
        [...document.querySelectorAll('#race-numbers .meter i')].map((bar) => bar.getBoundingClientRect().width),
      );
      const speeds = rows.map(([, speed]) => Number(speed));
      lengths.forEach((length, k) => {
        assert.ok(Math.abs(length / lengths[0] - speeds[k] / speeds[0]) < 0.02, `${lengths} for ${speeds}`);
      });
      assert.match(await page.text('#race-headline'), /^\d+\.\d times as fast as plain JavaScript in your browser/);
      await page.click('#race-share');
      await page.until(() => document.querySelector('#race-status').textContent !== '');
      const markdown = await page.evaluate(() => document.querySelector('#race-markdown').value);
      assert.match(markdown, /\| batchnorm, out reused \| [\d.]+ (ns|µs|ms) \|/);
      assert.ok(markdown.includes(`(${server.url}/demo/#race?shape=64x512x1x1&mode=training)`), 'a link to the same race');
      await page.choose('#race-shape', '8, 64, 56, 56');
      await page.click('#race-go');
      await page.until(() => !document.querySelector('#race-work').hidden);
      await page.click('#race-work button');
      await page.until(() => document.querySelector('#race-status').textContent === 'Stopped.');
      assert.match(await page.text('#race-bytes'), /17 source files/);
    });

    const type = (text) =>
      page.evaluate((code) => {
        const area = document.querySelector('#use-code');
        area.value = code;
        area.dispatchEvent(new Event('input', { bubbles: true }));
      }, text);
    const finished = () => page.until(() => document.querySelector('#use-stop').disabled);

    await t.test('Use it: shows the example of the section that the visitor came from', async () => {
      await page.evaluate(() => {
        document.documentElement.style.scrollBehavior = 'auto';
        document.querySelector('header a[href="#use"]').click();
      });
      assert.equal(await page.evaluate(() => document.querySelector('#use-example').value), 'race');
      assert.match(await page.evaluate(() => document.querySelector('#use-code').value), /new Arena/);
    });

    await t.test('Use it', async () => {
      await page.choose('#use-example', 'see');
      await page.click('#use-run');
      await finished();
      // The README shows the same numbers.
      assert.match(await page.text('#use-output'), /^Float32Array\(8\) \[-1\.341\d+, -0\.447/);
      assert.match(await page.text('#use-state'), /^Done in /);
      await page.choose('#use-example', 'wrong');
      await page.click('#use-run');
      await page.until(() => document.querySelector('#use-output .error') !== null);
      let words;
      try {
        batchNormalization({ data: new Float32Array(24), shape: [2, 3, 2, 2] }, [1, 1], [0, 0, 0]);
      } catch (error) {
        words = String(error);
      }
      assert.equal((await page.text('#use-output')).trim(), `${words}\n    at line 4`);
      await type('for (;;);');
      await page.click('#use-run');
      await page.until(() => !document.querySelector('#use-stop').disabled);
      assert.equal(await page.text('#use-state'), 'Running…');
      await page.click('#use-stop');
      assert.match(await page.text('#use-output'), /Stopped/);
      await type('for (let i = 0; ; i++) console.log(i);');
      await page.click('#use-run');
      await page.until(() => /further lines are not shown/.test(document.querySelector('#use-output').textContent));
      await page.click('#use-stop');
      assert.match(await page.text('#use-output'), /498\n… further lines are not shown\nStopped/);
    });

    await t.test('Use it: code is done when its timers are', async () => {
      await type("setTimeout(() => console.log('late'), 1200);");
      await page.click('#use-run');
      await finished();
      assert.equal((await page.text('#use-output')).trim(), 'late');
      assert.match(await page.text('#use-state'), /^Done in 1\.\d s/);
    });

    await t.test('Use it: errors are shown with their line', async () => {
      for (const [code, line, name] of [
        ['const a = 1;\n\nnull.data;', 3, 'TypeError'],
        ['const a = 1;\nconst b = = 2;', 2, 'SyntaxError'],
        ['const a = 1;\n\n\nsetTimeout(() => {\n  missing();\n});', 5, 'ReferenceError'],
      ]) {
        await type(code);
        await page.click('#use-run');
        await page.until(() => document.querySelector('#use-output .error') !== null);
        assert.match(await page.text('#use-output'), new RegExp(`^${name}: [\\s\\S]*\n    at line ${line}\n$`));
      }
    });

    await t.test(
      'Use it: the visitor’s code is kept when an example is chosen, and long lines of output are wrapped',
      async () => {
        await type(`console.log('${'long '.repeat(60)}');`);
        await page.choose('#use-example', 'place');
        assert.match(await page.evaluate(() => document.querySelector('#use-code').value), /output === X/);
        await page.choose('#use-example', 'own');
        assert.match(await page.evaluate(() => document.querySelector('#use-code').value), /^console\.log\('long /);
        await page.click('#use-run');
        await finished();
        const { beyond, height } = await page.evaluate(() => {
          const node = document.querySelector('#use-output');
          return { beyond: node.scrollWidth - node.clientWidth, height: node.clientHeight };
        });
        assert.ok(beyond <= 0, 'lines are wrapped');
        assert.ok(height >= 96, `the output is only ${height} pixels high`);
        await page.choose('#use-example', 'see');
        await page.click('#use-run');
        await finished();
      },
    );

    await t.test('numbers have true minus signs, and legends show the dashes of their lines', async () => {
      const hyphens = await page.evaluate(() => {
        const found = [];
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
          const { nodeValue, parentElement } = walker.currentNode;
          if (!parentElement.closest('pre, code, textarea, script') && /(^|[\s([])-\d/.test(nodeValue)) found.push(nodeValue);
        }
        return found;
      });
      assert.deepEqual(hyphens, []);
      const dashes = await page.evaluate(() =>
        [...document.querySelectorAll('#running-mean .legend li')].map(
          (item) => item.querySelector('path')?.getAttribute('stroke-dasharray') ?? null,
        ),
      );
      assert.deepEqual(dashes, [null, null, '6 4']);
    });

    await t.test('every control has a name', async () => {
      const nameless = await page.evaluate(() =>
        [...document.querySelectorAll('input, select, textarea')]
          .filter((control) => control.labels.length === 0 && !control.getAttribute('aria-label'))
          .map((control) => control.outerHTML),
      );
      assert.deepEqual(nameless, []);
    });

    await t.test('every control can be reached by keyboard', async () => {
      const all = await page.evaluate(() => {
        const seen = (node) =>
          node.getClientRects().length > 0 &&
          getComputedStyle(node).visibility === 'visible' &&
          !node.disabled &&
          !node.closest('details:not([open]) > :not(summary)');
        const nodes = [...document.querySelectorAll('a, button, input, select, textarea, summary, [tabindex="0"]')].filter(seen);
        nodes.forEach((node, k) => {
          node.dataset.stop = String(k);
        });
        document.activeElement.blur();
        scrollTo(0, 0);
        // In a group of radio buttons, Tab only stops at the chosen one.
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

    await t.test('axe finds no violations, in light and dark', async () => {
      await page.evaluate(axe);
      await page.evaluate(() => {
        for (const details of document.querySelectorAll('details')) details.open = true;
      });
      for (const theme of ['light', 'dark']) {
        await page.choose('#theme', theme);
        const violations = await page.evaluate(async () =>
          (await window.axe.run()).violations.map(
            ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 90)).join(' ')}`,
          ),
        );
        assert.deepEqual(violations, [], theme);
      }
      await page.evaluate(() => {
        for (const details of document.querySelectorAll('details')) details.open = false;
      });
    });

    await t.test('screenshots of each section', async () => {
      await page.click('#train-reset');
      await page.click('#train-go');
      await trained(page);
      await page.click('#train-go');
      for (const name of SECTIONS) await shots(name, `#${name}`);
    });

    await t.test('there were no errors, and no requests for missing files', async () => {
      assert.deepEqual(await page.evaluate(() => window.problems), []);
      // Some browsers request this icon even though the page names another one.
      assert.deepEqual(
        server.missing.filter((path) => path !== '/favicon.ico'),
        [],
      );
    });
    await page.close();

    await t.test('Race: several threads take part if the page is cross-origin isolated', async () => {
      const isolated = await serve(root, { isolated: true });
      try {
        const view = visitor(await browser.open(`${isolated.url}/demo/`, { height: 1800 }));
        await ready(view);
        await view.choose('#race-shape', '64, 512, 1, 1');
        await view.click('#race-go');
        await view.until(
          () =>
            !document.querySelector('#race-table').hidden && !document.querySelector('#race-go').hasAttribute('aria-disabled'),
        );
        assert.equal(await view.text('#race-status'), '');
        const names = await view.evaluate(() =>
          [...document.querySelectorAll('#race-numbers th')].map((name) => name.textContent),
        );
        // WebKitGTK has no shared memory.
        const count = await view.evaluate(() => (typeof SharedArrayBuffer === 'undefined' ? 1 : navigator.hardwareConcurrency));
        const expected = count > 1 ? [`batchnorm, in an arena, ${count} threads`] : [];
        assert.deepEqual(
          names.filter((name) => /threads/.test(name)),
          expected,
        );
        await view.close();
      } finally {
        isolated.close();
      }
    });

    await t.test('the address keeps the state when a page is shared, reloaded, or returned to', async () => {
      const shared = visitor(await browser.open(`${server.url}/demo/#break?mean=1e6&of=gradient`, { height: 1800 }));
      const hash = () => shared.evaluate(() => location.hash);
      const assertBreak = async (mean, of, message) => {
        await ready(shared);
        assert.equal(await shared.text('#break-at'), mean, message);
        assert.equal(await shared.text('[data-of="break-mean"]'), mean, message);
        assert.equal(await shared.evaluate(() => document.querySelector('[name="break-of"]:checked').value), of, message);
        const [slider, mark] = await shared.evaluate(() => [
          document.querySelector('#break-mean').value,
          document.querySelector('.mark').getAttribute('aria-valuenow'),
        ]);
        assert.equal(slider, mark, message);
      };
      await assertBreak('10⁶', 'gradient', 'shared');
      await shared.press('#break-mean', ...times(8, 'ArrowLeft'));
      assert.equal(await hash(), '#break?mean=1e5&of=gradient');
      await shared.reload();
      await assertBreak('10⁵', 'gradient', 'reloaded');
      await shared.drag('#break-plot', [0.9, 0.4], [0.3, 0.6]);
      const dragged = await hash();
      assert.notEqual(dragged, '#break?mean=1e5&of=gradient', 'the address also keeps what was dragged');
      const mean = await shared.text('#break-at');
      await shared.go(`${server.url}/demo/icon.svg`);
      await shared.back();
      await shared.until(() => document.querySelector('[name="break-of"]:checked').value === 'gradient');
      await assertBreak(mean, 'gradient', 'gone back to');

      // The address holds the state of one section. After a reload, the other sections have their defaults, in their controls, too.
      await shared.press('#see-gamma', ...times(20, 'ArrowRight'));
      assert.match(await hash(), /^#see\?.*gamma=2&/);
      await shared.reload();
      await assertBreak('10⁴', 'output', 'not in the address');
      assert.equal(await shared.text('[data-of="see-gamma"]'), '2.00');
      await shared.until(() => /fill\(2\)/.test(document.querySelector('#see-code').textContent));
      await shared.click('#see-reset');
      assert.match(await hash(), /gamma=1&/, 'the address also keeps a reset');

      // Changes of the address within the open page, and Back.
      await shared.evaluate(() => {
        location.hash = '#running?momentum=0.9&size=1';
      });
      await shared.until(() => document.querySelector('[data-of="running-size"]').textContent === '1');
      assert.match(await shared.text('[data-of="running-momentum"]'), /^0\.90/);
      await shared.evaluate(() => {
        location.hash = '#running?momentum=0.5&size=32';
      });
      await shared.until(() => document.querySelector('[data-of="running-size"]').textContent === '32');
      await shared.back();
      await shared.until(() => document.querySelector('[data-of="running-size"]').textContent === '1');
      assert.match(await shared.text('[data-of="running-momentum"]'), /^0\.90/);
      // Invalid values are replaced by the defaults.
      await shared.evaluate(() => {
        location.hash = '#running?momentum=much&size=-1&other=1';
      });
      await shared.until(() => document.querySelector('[data-of="running-momentum"]').textContent.startsWith('0.10'));

      // The browser stores the theme; the address does not have it.
      await shared.choose('#theme', 'dark');
      await shared.reload();
      await ready(shared);
      const dark = await shared.evaluate(() => [
        document.querySelector('#theme').value,
        getComputedStyle(document.body).backgroundColor,
      ]);
      assert.deepEqual(dark, ['dark', 'rgb(20, 22, 24)']);
      await shared.choose('#theme', '');
      // The visitor's own code can be shared.
      await shared.close();
      const code = visitor(
        await browser.open(`${server.url}/demo/#use?example=own&code=${encodeURIComponent('console.log(1 + 1);')}`),
      );
      await ready(code);
      assert.equal(await code.evaluate(() => document.querySelector('#use-code').value), 'console.log(1 + 1);');
      await code.close();
    });

    await t.test('the first view has the lead, the claim and the plot, on a desktop and on a phone', async () => {
      const view = visitor(await browser.open(`${server.url}/tests/browsers/phone.html`, { width: 1300, height: 900 }));
      for (const [width, height] of [
        [1280, 720],
        [360, 740],
      ]) {
        await view.evaluate(
          (sizes) => {
            const frame = document.querySelector('iframe');
            [frame.width, frame.height] = sizes.map(String);
            frame.contentWindow.location.reload();
          },
          [width, height],
        );
        await setTimeout(300);
        await view.until(
          () => document.querySelector('iframe').contentDocument.querySelector('#break-plot .own-line path') !== null,
        );
        const boxes = await view.evaluate(() => {
          const { document: inner, scrollY } = document.querySelector('iframe').contentWindow;
          const names = ['h1', '#break .lead', '#break-claim', '#break-plot', '#break-mean'];
          return names.map((name) => [
            name,
            scrollY,
            ...['top', 'bottom'].map((side) => inner.querySelector(name).getBoundingClientRect()[side]),
          ]);
        });
        for (const [name, scrolled, top, bottom] of boxes)
          assert.ok(scrolled === 0 && top >= 0 && bottom <= height, `${name} at ${width} × ${height}: ${top} to ${bottom}`);
        const [, , top, bottom] = boxes[3];
        assert.ok(bottom - top >= 0.3 * height, `the plot is large: ${bottom - top} of ${height}`);
      }
      await view.close();
    });

    await t.test('nothing scrolls sideways at the width of a phone', async () => {
      // In a frame, since some browsers' windows cannot be that narrow.
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
      // The rows exist once the frame has loaded the page. Once the last section has started, all have.
      await phone.until(() => document.querySelector('iframe').contentDocument.querySelector('#break-numbers tr') !== null);
      await inside(() => document.querySelector('#use').scrollIntoView({ behavior: 'instant' }));
      await phone.until(() => document.querySelector('iframe').contentDocument.querySelector('#use-code').value);
      const beyond = () => inside(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(await inside(() => innerWidth), 360);
      assert.ok((await beyond()) <= 0);
      await inside(() => {
        for (const details of document.querySelectorAll('details')) details.open = true;
        document.querySelector('input[name="see-channels"][value="64"]').click();
      });
      await phone.until(() => {
        const { document: inner } = document.querySelector('iframe').contentWindow;
        inner.querySelector('#see').scrollIntoView({ behavior: 'instant' });
        return inner.querySelector('#see-time').textContent.includes('64, 48');
      });
      await inside(() => {
        document.querySelector('#race-shape').value = '64, 512, 1, 1';
        document.querySelector('#race-go').click();
        document.querySelector('#use-run').click();
      });
      await phone.until(() => !document.querySelector('iframe').contentDocument.querySelector('#race-table').hidden);
      assert.ok((await beyond()) <= 0);
      for (const width of [360, 375, 390]) {
        await phone.evaluate((pixels) => {
          document.querySelector('iframe').width = String(pixels);
        }, width);
        await inside(() => {
          document.documentElement.style.fontSize = '200%';
        });
        await phone.frame();
        assert.ok((await beyond()) <= 0, `with text twice as large, at ${width} pixels: ${await beyond()}`);
      }
      await inside(() => {
        document.documentElement.style.fontSize = '';
        document.querySelector('#use-code').value = 'throw new Error("long ".repeat(100));';
        document.querySelector('#use-run').click();
      });
      await phone.evaluate(() => {
        document.querySelector('iframe').width = '360';
      });
      await phone.until(() => document.querySelector('iframe').contentDocument.querySelector('#use-output .error') !== null);
      const cut = await inside(() => {
        const output = document.querySelector('#use-output');
        return output.scrollWidth - output.clientWidth;
      });
      assert.ok(cut <= 0, `errors are shown in full: ${cut} pixels beyond`);
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
        for (const name of SECTIONS) {
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

    if (engine === 'chromium')
      await t.test('Lighthouse, as on a phone: accessibility and best practices', async () => {
        const plain = await serve(root, { under: '/some/where' });
        try {
          const scores = await audit(`${plain.url}/demo/`, browser.port);
          for (const [name, { score, lowered }] of Object.entries(scores)) {
            t.diagnostic(`Lighthouse: ${name} ${score} ${lowered.join(', ')}`);
            // The performance score depends on the machine, so it is only printed.
            if (name !== 'performance') assert.ok(score >= 95, `${name}: ${score}, by ${lowered}`);
          }
        } finally {
          plain.close();
        }
      });

    // WebKit's window cannot be that wide, and its screenshots only show the window.
    if (engine !== 'webkit')
      await t.test('screenshots of the page, in four widths and two themes, and with text twice as large', async () => {
        const take = async (name, theme, size, width) => {
          const view = visitor(await browser.open(`${server.url}/demo/`, { width, height: 900 }));
          await ready(view);
          await view.evaluate((text) => {
            document.documentElement.style.fontSize = text;
            document.querySelector('#see').scrollIntoView({ behavior: 'instant' });
          }, size);
          await view.until(() => document.querySelector('#see-time').textContent !== '');
          await view.until(() => document.querySelector('#break-plot').getAttribute('aria-busy') === 'false');
          await trained(view);
          await view.choose('#theme', theme);
          await view.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }));
          await view.frame();
          await view.screenshot(null, fileURLToPath(new URL(`${engine}-page-${name}-${theme}.png`, screenshots)));
          await view.choose('#theme', '');
          await view.close();
        };
        for (const theme of ['light', 'dark']) for (const width of [360, 768, 1280, 2200]) await take(width, theme, '', width);
        for (const width of [360, 390]) await take(`${width}-large-text`, 'light', '200%', width);
      });
  });
