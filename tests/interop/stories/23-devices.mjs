// A server that lies about whose devices are whose, between an instance and an unmodified Baileys.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

/** The instance is a companion of Ines' phone, Baileys one of Bob's. */
async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  return { ines, bob, instance, bruno, platform: instance.platform };
}

/** Numbers of Bob's devices, as far as the sandbox plays them, that have read the message. */
const readers = async ({ sandbox }, { number }, id) => {
  const found = (await sandbox.get(`/messages/${id}/readers?count=1&wait=20`)).readers;
  const own = found.filter((jid) => jid.split(/[:@]/)[0] === number);
  return own.map((jid) => Number(jid.match(/:(\d+)@/)?.[1] ?? 0)).sort();
};

story('a device that the server adds to somebody reads nothing of what goes to him, alone or in a group', async (cast) => {
  const { sandbox } = cast;
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const group = await sandbox.post('/groups', { owner: ines.number, subject: 'Two', participants: [bob.number] });
  await instance.event('group.updated', ({ action, group_jid }) => action === 'created' && group_jid === group.jid);
  assert.equal((await bruno.messageWith(await instance.send(bob.number, 'before'))).text, 'before');
  for (const show of ['signed', 'forged', 'missing', 'stale']) {
    await sandbox.put(`/phones/${bob.number}/device-list`, { show });
    const { device } = await sandbox.post(`/phones/${bob.number}/intruder`, show === 'signed' ? {} : { key_index: 1 });
    for (const to of [bob.number, group.jid]) {
      const id = await instance.send(to, `${show}: for Bob`);
      assert.equal((await bruno.messageWith(id)).text, `${show}: for Bob`);
      const read = await readers(cast, bob, id);
      assert.ok(read.includes(0) && !read.includes(device), `${show}, ${to}: ${read}`);
    }
  }
  await sandbox.put(`/phones/${bob.number}/device-list`, { show: 'signed' });
  const id = await bruno.send(ines.jid, 'and back');
  assert.equal(textOf(await platform.messageWith(id)), 'and back');
});

story('after a number was registered anew its new companions read and are read', async (cast) => {
  const { sandbox } = cast;
  // Bruno is unlinked with the old phone.
  cast.expected.push(/device_removed|Stream Errored|Connection Failure|logged out|401/i);
  const { ines, bob, instance, bruno, platform } = await two(cast);
  assert.equal((await bruno.messageWith(await instance.send(bob.number, 'before'))).text, 'before');
  await sandbox.post(`/phones/${bob.number}/register-anew`, {});
  const berta = await cast.companion(bob);
  const id = await berta.send(ines.jid, 'another phone, another computer');
  assert.equal(textOf(await platform.messageWith(id)), 'another phone, another computer');
  const sent = await instance.send(bob.number, 'welcome back');
  assert.equal((await berta.messageWith(sent)).text, 'welcome back');
  assert.deepEqual(await readers(cast, bob, sent), [0]);
});
