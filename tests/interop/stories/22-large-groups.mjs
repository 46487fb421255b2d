// A group of 300 people with two devices each, most of them played by the sandbox: everybody reads what an instance and
// an unmodified Baileys write, until they are removed.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';

const MEMBERS = 300;

/** Devices that have read the message, once there are so many of them. */
const readers = async ({ sandbox }, id, count) => {
  const found = (await sandbox.get(`/messages/${id}/readers?count=${count}&wait=120`)).readers;
  assert.equal(found.length, count, `readers of ${id}`);
  return new Set(found);
};

for (const mode of ['lid', 'pn']) {
  story(
    `${MEMBERS} people with two devices each read everything in a group addressed by ${mode}`,
    async (cast) => {
      const { sandbox } = cast;
      const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
      const { phones } = await sandbox.post('/phones', { count: MEMBERS - 2, devices: 1 });
      const instance = await cast.instance();
      const bruno = await cast.companion(bob);
      await instance.pair(ines);
      const group = await sandbox.post('/groups', {
        owner: ines.number,
        subject: 'Everybody',
        participants: [bob, ...phones].map(({ number }) => number),
        addressing_mode: mode,
      });
      await instance.event('group.updated', ({ action, group_jid }) => action === 'created' && group_jid === group.jid);

      // Two phones with a real companion each, and the others with a played one.
      const played = 2 + 2 * (MEMBERS - 2);
      for (const round of [1, 2]) {
        const fromInstance = await instance.send(group.jid, `instance ${round}`);
        await readers(cast, fromInstance, played);
        assert.equal((await bruno.messageWith(fromInstance)).text, `instance ${round}`);
        const fromBruno = await bruno.send(group.jid, `bruno ${round}`);
        await readers(cast, fromBruno, played);
        await instance.platform.messageWith(fromBruno);
      }
      const [gone] = phones;
      await sandbox.post(`/groups/${group.jid}/participants`, { remove: [gone.number] });
      await instance.event('group.updated', ({ action }) => action === 'participants_removed');
      for (const [id, who] of [
        [await instance.send(group.jid, 'without one'), 'instance'],
        [await bruno.send(group.jid, 'without one, too'), 'bruno'],
      ]) {
        const left = await readers(cast, id, played - 2);
        assert.ok(![...left].some((jid) => jid.startsWith(gone.number)), who);
      }
      const kept = (await sandbox.get(`/phones/${gone.number}/messages`)).messages.map(({ text }) => text);
      assert.deepEqual(kept, ['instance 1', 'bruno 1', 'instance 2', 'bruno 2']);
    },
    { limit: 600_000 },
  );
}
