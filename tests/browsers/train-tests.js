/* Tests of "Train it", used the way a visitor would. */
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { createTraining } from '../../demo/network.js';

/** The initial state of the controls. */
const DEFAULT = { data: 'spirals', rate: 0.5, size: 128, depth: 8, seed: 1 };

/** @param {import('node:test').TestContext} t @param {object} page the demo, as returned by visitor() in demo.js */
export async function testTraining(t, page) {
  const scrollTo = (selector) =>
    page.evaluate((at) => document.querySelector(at).scrollIntoView({ behavior: 'instant', block: 'center' }), selector);
  const read = () =>
    page.evaluate(() => {
      const text = (id) => document.querySelector(`#train-${id}`).textContent;
      const figure = (name, pattern) => {
        const found = pattern.exec(text(`reading-${name}`));
        return found && Number(found[1]);
      };
      return {
        step: Number(text('count').replace('Step ', '')),
        correct: ['with', 'without'].map((name) => figure(name, /^(\d+) %/)),
        losses: ['with', 'without'].map((name) => figure(name, /loss ([\d.]+)/)),
      };
    });
  const atStep = (step) => page.until((wanted) => document.querySelector('#train-count').textContent === `Step ${wanted}`, step);
  const press = async (selector, key, count = 1) => {
    for (let k = 0; k < count; k++) await page.press(selector, key);
  };
  /** Asserts that the training stands still. At first, updates that were pending may still arrive. */
  const assertStill = async (message) => {
    let { step } = await read();
    for (let k = 0; k < 5; k++) {
      await setTimeout(1000);
      const now = await read();
      if (now.step === step) return;
      step = now.step;
    }
    assert.fail(`${message}: still training at step ${step}`);
  };

  await t.test('Train it: it starts in view; only the network with batch normalization learns', async () => {
    // Sections above it may still be growing.
    await page.until(() => {
      document.querySelector('#train .trials').scrollIntoView({ behavior: 'instant', block: 'center' });
      return document.querySelector('#train-count').textContent !== 'Step 0';
    });
    // The training may have been in view for a while, so this starts it again.
    await press('#train-seed', 'ArrowRight');
    await press('#train-seed', 'ArrowLeft');
    await page.until(() => Number(document.querySelector('#train-count').textContent.replace('Step ', '')) < 40);
    const began = Date.now();
    await page.until(() => {
      const [own, other] = ['with', 'without'].map((name) =>
        Number.parseFloat(document.querySelector(`#train-reading-${name}`).textContent),
      );
      return own > 90 && own > other + 20;
    });
    const { step, correct } = await read();
    t.diagnostic(`Train it: ${correct.join(' and ')} % after ${step} steps, ${(Date.now() - began) / 1000} s`);
    assert.ok(step <= 500, `${step} steps`);
    const label = await page.evaluate(() => document.querySelector('#train-field-with').getAttribute('aria-label'));
    assert.match(label, /^With batch normalization, step \d+: \d+ % correct$/);
  });

  await t.test('Train it: the page keeps drawing and responding while it trains', async () => {
    const { gaps, response } = await page.evaluate(async () => {
      const frame = () => new Promise(requestAnimationFrame);
      const times = [await frame()];
      while (times[times.length - 1] < times[0] + 2000) times.push(await frame());
      const begin = performance.now();
      const slider = document.querySelector('#train-seed');
      slider.value = '2';
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      await frame();
      await frame();
      const took = performance.now() - begin;
      slider.value = '1';
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      return { gaps: times.slice(1).map((time, k) => time - times[k]), response: took };
    });
    gaps.sort((a, b) => a - b);
    const [median, slow] = [gaps[gaps.length >> 1], gaps[Math.floor(0.95 * gaps.length)]];
    t.diagnostic(
      `Train it: a frame every ${median.toFixed(1)} ms, 95 % within ${slow.toFixed(1)} ms; a slider within ${response.toFixed(0)} ms`,
    );
  });

  await t.test('Train it: stop, step, reset', async () => {
    await page.until(() => !['Step 0', 'Step 5'].includes(document.querySelector('#train-count').textContent));
    await page.click('#train-go');
    assert.equal(await page.text('#train-go'), 'Start');
    await assertStill('stopped');
    const { step } = await read();
    await page.click('#train-step');
    await atStep(step + 1);
    await page.click('#train-reset');
    await atStep(0);
    await assertStill('reset');
    assert.deepEqual((await read()).losses, [null, null], 'no loss before the first step');
  });

  await t.test('Train it: the same seed gives the same losses, as in Node', async () => {
    const losses = async () => {
      const seen = [];
      await page.click('#train-reset');
      await atStep(0);
      for (let step = 1; step <= 3; step++) {
        await page.click('#train-step');
        await atStep(step);
        seen.push((await read()).losses);
      }
      return seen;
    };
    const first = await losses();
    assert.deepEqual(await losses(), first);
    const advance = createTraining(DEFAULT);
    first.forEach((pair, k) => {
      const expected = advance(1).networks.map(({ loss }) => loss);
      // Math.exp differs between engines in the last digit.
      pair.forEach((loss, which) => void assert.ok(Math.abs(loss - expected[which]) < 0.002, `${k}: ${pair}, not ${expected}`));
    });
    await press('#train-seed', 'ArrowRight');
    assert.notDeepEqual(await losses(), first, 'another seed');
    await press('#train-seed', 'ArrowLeft');
  });

  await t.test('Train it: each control starts the training again', async () => {
    const layers = () => page.evaluate(() => document.querySelectorAll('#train-layers-with li').length);
    const picture = () => page.evaluate(() => document.querySelector('#train-points-with').toDataURL());
    assert.equal(await layers(), 8);
    for (const [selector, reading] of [
      ['#train-depth', '7'],
      ['#train-size', '64'],
      ['#train-rate', '0.2'],
    ]) {
      await page.click('#train-step');
      await page.until(() => document.querySelector('#train-count').textContent !== 'Step 0');
      await press(selector, 'ArrowLeft');
      await atStep(0);
      assert.equal(await page.text(`[data-of="${selector.slice(1)}"]`), reading);
    }
    assert.equal(await layers(), 7);
    assert.match(await page.evaluate(() => location.hash), /^#train\?data=spirals&rate=0\.2&size=64&depth=7&seed=1$/);
    for (const selector of ['#train-depth', '#train-size', '#train-rate']) await press(selector, 'ArrowRight');

    const before = await picture();
    await page.click('#train-step');
    await page.until(() => document.querySelector('#train-count').textContent !== 'Step 0');
    await page.click('input[name="train-data"][value="circles"]');
    await atStep(0);
    assert.notEqual(await picture(), before, 'other points');
    // An easy task, which both networks learn.
    await page.click('#train-go');
    await page.until(() =>
      ['with', 'without'].every((name) => Number.parseFloat(document.querySelector(`#train-reading-${name}`).textContent) > 95),
    );
    await page.click('input[name="train-data"][value="spirals"]');
    await page.until(() => Number(document.querySelector('#train-count').textContent.replace('Step ', '')) < 30);
    assert.equal(await page.text('#train-go'), 'Stop', 'it continues with the other data');
  });

  await t.test('Train it: the page says if a network diverges', async () => {
    await press('#train-rate', 'End');
    await page.until(() => /^diverged/.test(document.querySelector('#train-reading-without').textContent));
    await press('#train-rate', 'ArrowLeft', 4);
    await page.until(() => /correct/.test(document.querySelector('#train-reading-without').textContent));
  });

  await t.test('Train it: it pauses when out of view', async () => {
    await scrollTo('footer');
    await assertStill('out of view');
    const { step } = await read();
    await scrollTo('#train .trials');
    await page.until((last) => Number(document.querySelector('#train-count').textContent.replace('Step ', '')) > last, step);
    await page.click('#train-go');
    assert.equal(await page.text('#train-status'), '');
  });
}
