// A story: a sandbox, whoever takes part in it, and what must hold at its end.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { Companion, spoken, unexplained } from './baileys.mjs';
import { Instance } from './instance.mjs';
import { Sandbox } from './sandbox.mjs';
import { Shelf } from './shelf.mjs';
import { Platform } from './webhooks.mjs';

/** Milliseconds that one story may take. */
const LIMIT = 180_000;
/** Lines of each log that the account of a failure has. */
const LINES = Number(process.env.WAZAP_INTEROP_LINES ?? 30);

/** Whoever takes part in one story. */
class Cast {
  companions = [];
  instances = [];
  platforms = [];
  shelves = [];
  /** Complaints of Baileys that this story provokes. */
  expected = [];
  #folder;

  static async gather(seed, kept) {
    const cast = new Cast();
    cast.#folder = await mkdtemp(join(tmpdir(), 'wazap-interop-'));
    cast.sandbox = await Sandbox.start(seed, kept ? ['--state', cast.folder('sandbox')] : []);
    return cast;
  }

  phone = (name) => this.sandbox.phone(name);

  /** A Baileys client that is paired with the phone and online. */
  companion = (phone, name) => this.stranger(phone.name, name).pair(phone);

  /** A Baileys client without credentials. */
  stranger(pushName, name = `${pushName}-${this.companions.length}`) {
    const companion = new Companion({ sandbox: this.sandbox, folder: this.folder(name), name: pushName });
    this.companions.push(companion);
    return companion;
  }

  /** An instance that runs and waits to be scanned; it reports to a platform of its own. */
  async instance(more = []) {
    const platform = await Platform.start();
    this.platforms.push(platform);
    const folder = this.folder(`instance-${this.instances.length}`);
    const instance = new Instance({ server: this.sandbox, platform, folder, more });
    this.instances.push(instance);
    return instance.start();
  }

  /** An instance and a Baileys, both companions of Ines' phone, and a message from Bob that both have. */
  async three() {
    const [ines, bob] = [await this.phone('Ines'), await this.phone('Bob')];
    const [instance, irene] = [await this.instance(), await this.companion(ines)];
    await instance.pair(ines);
    const id = await bob.send(ines.number, 'hello');
    await instance.platform.messageWith(id);
    const hello = await irene.messageWith(id);
    return { ines, bob, instance, irene, hello };
  }

  /** A web server that has these files: path → `{type, bytes}`. */
  async shelf(files) {
    const shelf = await Shelf.start(files);
    this.shelves.push(shelf);
    return shelf;
  }

  folder = (name) => join(this.#folder, name);

  /** The sandbox refused nothing, and nobody saw an error. */
  async verify() {
    const stats = await this.sandbox.get('/stats');
    assert.deepEqual({ ...stats.refused, ...stats.unknown }, {}, 'refused or unknown stanzas');
    for (const companion of this.companions) {
      assert.deepEqual(unexplained(companion.complaints, this.expected), [], 'errors and warnings of Baileys');
    }
    assert.deepEqual(unexplained(spoken(), this.expected), [], 'errors and warnings of its Signal library');
    for (const instance of this.instances) {
      const errors = instance.program.log.all((line) => /\bERROR\b|panicked/.test(line));
      assert.deepEqual(errors, [], 'errors of the instance');
    }
  }

  /** What helps to understand a story that failed. */
  async account(t) {
    for (const instance of this.instances) t.diagnostic(`log of the instance:\n${instance.tail(LINES)}`);
    for (const companion of this.companions) {
      const lines = unexplained(companion.complaints, this.expected).slice(-10).map((line) => line.slice(0, 1500));
      if (lines.length > 0) t.diagnostic(`Baileys complains:\n${lines.join('\n')}`);
    }
    t.diagnostic(`the sandbox said: ${this.sandbox.program.out.items.join(' | ')}`);
    t.diagnostic(`log of the sandbox:\n${this.sandbox.program.log.items.slice(-LINES).join('\n')}`);
    const { log } = await this.sandbox.get('/log');
    const lines = log.slice(-LINES).map(({ time, device, direction, stanza }) => `${time} ${device} ${direction} ${stanza}`.slice(0, 300));
    t.diagnostic(`last stanzas:\n${lines.join('\n')}`);
  }

  async leave() {
    await Promise.allSettled(this.companions.map((companion) => companion.stop()));
    await Promise.allSettled(this.instances.map((instance) => instance.program?.end('SIGKILL')));
    await Promise.allSettled([...this.platforms, ...this.shelves].map((server) => server.stop()));
    await this.sandbox.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One test. `tell(cast, t)` plays it. `kept`: the sandbox keeps its state over a restart. */
export function story(title, tell, { limit = LIMIT, seed = 7, kept = false } = {}) {
  test(title, { timeout: limit }, async (t) => {
    const cast = await Cast.gather(seed, kept);
    t.after(() => cast.leave());
    try {
      await tell(cast, t);
      await cast.verify();
    } catch (error) {
      await cast.account(t).catch((trouble) => t.diagnostic(`no account: ${trouble}`));
      throw error;
    }
  });
}
