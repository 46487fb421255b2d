// What happened, in order, and waiting for it: the one way in which a story waits.

/** How long a story waits for one thing, in milliseconds, unless it says otherwise. */
export const PATIENCE = 30_000;

export class Journal {
  items = [];
  #name;
  #waiting = new Set();

  constructor(name) {
    this.#name = name;
  }

  push(item) {
    this.items.push(item);
    for (const look of [...this.#waiting]) look();
  }

  /** Everything so far that fits. */
  all(fits = () => true) {
    return this.items.filter(fits);
  }

  /** The first item that fits, of those that are there or still come. */
  async find(what, fits, patience = PATIENCE) {
    const [first] = await this.count(what, 1, fits, patience);
    return first;
  }

  /** The first `count` items that fit. */
  async count(what, count, fits = () => true, patience = PATIENCE) {
    await this.until(what, () => this.all(fits).length >= count, patience);
    return this.all(fits).slice(0, count);
  }

  /** Waits until all items together are enough. */
  until(what, enough, patience = PATIENCE) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!enough(this.items)) return;
        settle();
        resolve();
      };
      const timer = setTimeout(() => {
        settle();
        const last = this.items.slice(-5).map((item) => JSON.stringify(item)?.slice(0, 300));
        const tail = last.length > 0 ? `; last of ${this.items.length}:\n  ${last.join('\n  ')}` : '; nothing came';
        reject(new Error(`${this.#name}: waited ${patience} ms for ${what}${tail}`));
      }, patience);
      const settle = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
  }
}
