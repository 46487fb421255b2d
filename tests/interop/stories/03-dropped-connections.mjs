// 200 messages each way while connections are cut at random: each arrives once, and in order.

import assert from 'node:assert/strict';

import { CUT } from '../lib/baileys.mjs';
import { story } from '../lib/story.mjs';
import { seeded } from '../lib/seeded.mjs';
import { textOf } from '../lib/webhooks.mjs';

const EACH = 200;
const SEEDS = (process.env.WAZAP_INTEROP_SEEDS ?? '1').split(' ').map(Number);
/** Messages, of both directions, between two cuts: at least and at most. */
const [LEAST, MOST] = [15, 35];

for (const seed of SEEDS) {
  story(
    `${EACH} messages each way arrive once and in order although connections are cut (seed ${seed})`,
    async (cast, t) => {
      cast.expected.push(...CUT);
      const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
      const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
      await instance.pair(ines);
      const { platform } = instance;
      // First contact, from both ends at once, is another story.
      await bruno.messageWith(await instance.send(bob.number, 'hello'));
      await platform.messageWith(await bruno.send(ines.jid, 'hello yourself'));

      const cuts = cutter(cast, [instance.jid, bruno.jid], seeded(seed));
      const numbers = Array.from({ length: EACH }, (_, n) => n + 1);
      const fromInstance = async () => {
        const ids = [];
        for (const n of numbers) {
          ids.push(await instance.sendSurely(bob.number, `instance ${n}`));
          await cuts.tick();
        }
        return ids;
      };
      const fromBaileys = async () => {
        const ids = [];
        for (const n of numbers) {
          ids.push(await bruno.sendSurely(ines.jid, `baileys ${n}`));
          await cuts.tick();
        }
        return ids;
      };
      const [byInstance, byBaileys] = await Promise.all([fromInstance(), fromBaileys()]);
      await platform.messageWith(byBaileys.at(-1));
      await bruno.decrypted.until('every message', (seen) => unique(seen.map(({ text }) => text)).length > EACH);
      t.diagnostic(`${cuts.made} connections cut; Baileys decrypted ${bruno.decrypted.items.length} messages`);

      const own = platform.incoming().filter((post) => !post.key.fromMe).slice(1);
      assert.deepEqual(own.map((post) => post.key.id), byBaileys, 'at the instance: ids, once, in order');
      assert.deepEqual(own.map(textOf), numbers.map((n) => `baileys ${n}`));
      const sent = platform.incoming().filter((post) => post.key.fromMe).slice(1);
      assert.deepEqual(sent.map((post) => post.key.id), byInstance, 'own messages: ids, once, in order');
      const arrived = unique(bruno.arrived.items).filter((id) => byInstance.includes(id));
      assert.deepEqual(arrived, byInstance, 'at the socket of Baileys: ids, in order');
      const decrypted = unique(bruno.decrypted.items.map(({ text }) => text)).slice(1);
      assert.deepEqual(decrypted.sort(), numbers.map((n) => `instance ${n}`).sort(), 'decrypted by Baileys: each');
      assert.ok(cuts.made >= (2 * EACH) / MOST, `${cuts.made} cuts`);
      for (const id of byInstance) assert.ok((await platform.statuses(id, 3)).every(rising), `statuses of ${id}`);
    },
    { limit: 300_000, seed },
  );
}

/** Cuts one of the connections now and then. */
function cutter(cast, devices, random) {
  const next = () => LEAST + Math.floor(random() * (MOST - LEAST + 1));
  let left = next();
  const cuts = {
    made: 0,
    async tick() {
      left -= 1;
      if (left > 0) return;
      // Who is not connected at the moment is cut at the next chance.
      if (!(await cast.sandbox.drop(devices[Math.floor(random() * devices.length)]))) return;
      left = next();
      cuts.made += 1;
    },
  };
  return cuts;
}

const unique = (list) => [...new Set(list)];
const rising = (status, index, all) => index === 0 || status > all[index - 1];
