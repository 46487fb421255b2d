// Keys of app state that change under an instance and an unmodified Baileys, both companions of one phone.

import assert from 'node:assert/strict';

import { PATIENCE } from '../lib/journal.mjs';
import { story } from '../lib/story.mjs';

const state = (ines) => ines.sandbox.get(`${ines.path}/app-state`);

/** The key under which the phone has a record, as soon as its value fits. */
async function keyOf(ines, index, fits) {
  await ines.record(index, fits);
  const { actions } = await state(ines);
  return actions.find((record) => record.index.join() === index.join()).key;
}

async function pins(instance, bob, pinned) {
  const { status, body } = await instance.call('PATCH', `/chats/${bob.jid}`, { pinned });
  assert.equal(status, 200, JSON.stringify(body));
}

async function until(what, fits) {
  const end = Date.now() + PATIENCE;
  while (!(await fits())) {
    if (Date.now() > end) throw new Error(what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Baileys writes with this key from here on. */
const writesWith = (irene, key) =>
  until('the key did not reach Baileys', () => {
    const id = irene.sock.authState.creds.myAppStateKeyId;
    return Buffer.from(id ?? '', 'base64').toString('hex') === key;
  });

/** The phone makes a new key, and both companions have it; which. */
async function rotate(cast, { ines, irene }) {
  await ines.rotateKey();
  const key = (await state(ines)).keys.at(-1);
  await writesWith(irene, key);
  await until('a companion did not take the key', async () => (await cast.sandbox.get('/stats')).queued === 0);
  return key;
}

/** Both write, and both see what the other wrote. */
async function bothWrite({ ines, bob, instance, irene, hello }, round) {
  const on = round % 2 === 1;
  await pins(instance, bob, on);
  await irene.state('chats.update', ({ id, pinned }) => id === bob.jid && Boolean(pinned) === on);
  const ours = await keyOf(ines, ['pin_v1', bob.jid], (value) => value?.pinAction.pinned === on);
  await irene.modify(bob.jid, { archive: on }, hello);
  await instance.chat(bob.jid, ({ archived }) => archived === on);
  const hers = await keyOf(ines, ['archive', bob.jid], (value) => value?.archiveChatAction.archived === on);
  // The instance changes what stands under whichever key, too.
  await irene.modify(bob.jid, { pin: !on });
  await instance.chat(bob.jid, ({ pinned }) => pinned === !on);
  await ines.record(['pin_v1', bob.jid], (value) => value?.pinAction.pinned === !on);
  return [ours, hers];
}

story('a phone that makes a new key is followed by everybody', async (cast) => {
  const all = await cast.three();
  const { ines } = all;
  const used = [];
  for (const round of [1, 2, 3]) {
    used.push(await bothWrite(all, round));
    await rotate(cast, all);
  }
  const { keys, diverged } = await state(ines);
  assert.equal(keys.length, 4);
  // Who wrote first after a new key had come, wrote with it.
  assert.deepEqual(used, [0, 1, 2].map((n) => [keys[n], keys[n]]));
  assert.equal(diverged, 0);
});

story('an instance that sees a companion go makes a new key, and Baileys reads and writes with it', async (cast) => {
  const all = await cast.three();
  const { ines, instance } = all;
  // The key comes first, and takes longer to be read than the notification behind it.
  cast.expected.push(/blocked on missing key/);
  const ivo = await cast.companion(ines);
  const [first] = await bothWrite(all, 1);
  const device = Number(ivo.jid.match(/:(\d+)@/)[1]);
  await ivo.stop();
  await ines.online(false);
  await ines.unlink(device);
  // The phone is away: whoever writes first notices.
  await pins(instance, all.bob, true);
  await ines.online(true);
  const made = await keyOf(ines, ['pin_v1', all.bob.jid], (value) => value?.pinAction.pinned === true);
  assert.notEqual(made, first);
  const own = Number(instance.jid.match(/:(\d+)@/)[1]);
  assert.equal(made, own.toString(16).padStart(4, '0') + '00000002');
  await writesWith(all.irene, made);
  for (const round of [2, 3]) assert.deepEqual(await bothWrite(all, round), [made, made]);
  assert.deepEqual((await state(ines)).keys, [first, made]);
});

story('who is linked after all that reads everything', async (cast) => {
  const all = await cast.three();
  const { ines, bob } = all;
  await ines.contact(bob.number, 'Bob from the first key');
  await bothWrite(all, 1);
  await rotate(cast, all);
  await bothWrite(all, 2);
  const late = await cast.companion(ines);
  // It complains of every record that it has no key for.
  await ines.change({ archive: { chat: bob.number, value: true } });
  await late.state('chats.update', ({ id, archived }) => id === bob.jid && archived);
  await late.modify(bob.jid, { mute: Date.now() + 3_600_000 });
  await all.instance.chat(bob.jid, ({ muted_until: until }) => until !== null);
  const { keys } = await state(ines);
  assert.equal(await keyOf(ines, ['mute', bob.jid], (value) => value?.muteAction.muted), keys.at(-1));
});

story('quick replies, settings and favourites are the same on every device', async (cast) => {
  const { ines, bob, instance, irene } = await cast.three();
  await irene.sock.addOrEditQuickReply({ shortcut: 'hours', message: 'We open at 8.', timestamp: '1700000000' });
  const told = await instance.event('quick_reply.updated', ({ id }) => id === '1700000000');
  assert.deepEqual([told.shortcut, told.message, told.deleted], ['hours', 'We open at 8.', false]);
  const answered = await instance.call('PATCH', '/quick-replies/1700000000', { message: 'We open at 9.' });
  assert.equal(answered.body.quick_reply.message, 'We open at 9.');
  await ines.record(['quick_reply', '1700000000'], (value) => value?.quickReplyAction.message === 'We open at 9.');
  await irene.sock.removeQuickReply('1700000000');
  await instance.event('quick_reply.updated', ({ id, deleted }) => id === '1700000000' && deleted);
  assert.equal((await instance.get('/quick-replies')).body.total, 0);

  await irene.sock.updateDisableLinkPreviewsPrivacy(true);
  await instance.event('account.updated', ({ settings }) => settings?.link_previews === false);
  const set = await instance.call('PATCH', '/account/settings', { unarchive_chats: true, link_previews: true });
  assert.deepEqual([set.body.unarchive_chats, set.body.link_previews, set.body.locale], [true, true, 'en_US']);
  await until('the setting did not reach Baileys', () => irene.sock.authState.creds.accountSettings?.unarchiveChats);
  const favorite = await instance.call('PATCH', `/chats/${bob.jid}`, { favorite: true });
  assert.equal(favorite.status, 200);
  await ines.record(['favorites'], (value) => value?.favoritesAction.favorites[0]?.id === bob.jid);
  assert.equal((await instance.get(`/chats/${bob.jid}`)).body.favorite, true);
  const muted = await instance.call('PATCH', `/contacts/${bob.number}`, { status_muted: true });
  assert.equal(muted.status, 200);
  assert.equal((await instance.get(`/contacts/${bob.number}`)).body.status_muted, true);
  await ines.record(['userStatusMute', bob.jid], (value) => value?.userStatusMuteAction.muted);
  assert.equal((await state(ines)).diverged, 0);
});
