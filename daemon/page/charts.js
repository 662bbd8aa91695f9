// Small charts of the last two minutes: lines, and the same in words for whoever does not see them.

import { element, measured } from './dom.js';

/** Seconds that a chart shows. */
const POINTS = 120;
const [WIDTH, HEIGHT] = [240, 48];
const SVG = 'http://www.w3.org/2000/svg';

export class Chart {
  #values;
  #lines;

  /** `series` names the lines; `write` writes one value. What is measured stands in `explained`. */
  constructor(figure, title, series, write, explained) {
    this.series = series;
    this.write = write;
    this.title = title;
    this.#values = series.map(() => Array(POINTS).fill(null));
    this.svg = document.createElementNS(SVG, 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('role', 'img');
    this.#lines = series.map((_, at) => this.svg.appendChild(document.createElementNS(SVG, 'path'))).map((line, at) => {
      line.setAttribute('class', `line-${at}`);
      return line;
    });
    this.now = series.map((name, at) => element('b', { class: `key-${at}` }, '–'));
    this.top = element('span', { class: 'top', 'aria-hidden': 'true' });
    const key = series.flatMap((name, at) => [element('span', { class: 'key' }, `${name} `, this.now[at])]);
    figure.append(element('figcaption', {}, element('span', { class: 'title' }, title), ...key),
      element('div', { class: 'plot' }, this.svg, this.top), element('details', {}, element('summary', {}, 'What is measured'), element('p', { class: 'quiet' }, explained)));
    this.#draw();
  }

  /** Adds a second's values; null where there is none. */
  push(values) {
    this.#values.forEach((line, at) => {
      line.push(values[at]);
      line.shift();
    });
    this.#draw();
  }

  #draw() {
    const known = this.#values.flat().filter(value => value !== null);
    const top = round(Math.max(0, ...known));
    this.top.textContent = known.length > 0 ? this.write(top) : '';
    this.#lines.forEach((line, at) => line.setAttribute('d', path(this.#values[at], top)));
    const words = this.series.map((name, at) => {
      const line = this.#values[at];
      const seen = line.filter(value => value !== null);
      const latest = line.at(-1);
      this.now[at].textContent = latest === null ? '–' : this.write(latest);
      return seen.length === 0 ? `${name}: nothing yet`
        : `${name}: ${latest === null ? 'nothing now' : `${this.write(latest)} now`}, at most ${this.write(Math.max(...seen))}`;
    });
    this.svg.setAttribute('aria-label', `${this.title}, the last two minutes. ${words.join('; ')}.`);
  }
}

/** The next round number: 1, 2 or 5 with zeroes. */
function round(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= value);
}

/** A line from left to right, with gaps where nothing is known. */
function path(values, top) {
  let [d, pen] = ['', 'M'];
  values.forEach((value, at) => {
    if (value === null) {
      pen = 'M';
      return;
    }
    const [x, y] = [at * WIDTH / (POINTS - 1), HEIGHT - 1 - value / top * (HEIGHT - 2)];
    // A single point is a short line.
    d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}${pen === 'M' ? 'h.1' : ''}`;
    pen = 'L';
  });
  return d;
}

/** So many a second. */
export const perSecond = value => `${measured(value)}/s`;
