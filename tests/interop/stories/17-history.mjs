// The past: what a phone tells a newly linked Baileys and a newly linked instance of its chats, and what it is asked for later.

import assert from 'node:assert/strict';

import { PATIENCE } from '../lib/journal.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/baileys.mjs';

const RECENT = 3;
const ON_DEMAND = 6;

/** A page after the other of a list of the instance. */
async function listed(instance, path, name) {
  const all = [];
  for (let page = 1; ; page += 1) {
    const { status, body } = await instance.get(`${path}?per_page=100&page=${page}`);
    assert.equal(status, 200, JSON.stringify(body));
    all.push(...body[name]);
    if (body[name].length < 100) return all;
  }
}

/** The text or caption that Baileys has of a message. */
const said = (message) => textOf(message) ?? message?.imageMessage?.caption ?? undefined;

/** What Baileys was told: chats by name, each with its messages by id; `lids`: number by hidden identity. */
function gathered(sets) {
  const chats = new Map();
  const lids = new Map();
  for (const set of sets) {
    for (const chat of set.chats) {
      if (chat.pnJid) lids.set(chat.id, chat.pnJid);
      if (!chats.has(chat.id)) chats.set(chat.id, { chat, messages: new Map() });
    }
    for (const message of set.messages) chats.get(message.key.remoteJid)?.messages.set(message.key.id, message);
  }
  return { chats, lids };
}

const count = (chats) => [...chats.values()].reduce((sum, { messages }) => sum + messages.size, 0);

/** Waits until the instance has read everything that the phone announced. */
const read = (instance) =>
  instance.event('history.progress', ({ kind, state }) => kind === 'recent' && state === 'done');

story('Baileys and the instance are told the same thousand chats', async (cast, t) => {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  await ines.history({ chats: 1000, messages: 12_000, groups: 150 });
  // And what really happened before anybody was linked.
  const hello = await bob.send(ines.number, 'hello, before');
  await ines.message(hello);
  const answer = await ines.send(bob.jid, 'an answer, before');
  await bob.send(ines.number, undefined, { reaction: { id: answer, emoji: '🎉' } });

  const irene = await cast.companion(ines);
  const done = ({ syncType, progress }) => syncType === RECENT && progress === 100;
  await irene.histories.find('the last chunk', done, 4 * PATIENCE);
  const { chats, lids } = gathered(irene.histories.items);
  assert.deepEqual([chats.size, count(chats)], [1001, 12_002]);

  const instance = await cast.instance();
  await instance.pair(ines);
  await read(instance);
  const list = await listed(instance, '/chats', 'chats');
  assert.equal(list.length, 1001);
  const byJid = new Map(list.map((chat) => [chat.jid, chat]));
  for (const [id, { chat, messages }] of chats) {
    const ours = byJid.get(lids.get(id) ?? id);
    assert.ok(ours, `no chat ${id}`);
    assert.equal(ours.archived, Boolean(chat.archived), id);
    assert.equal(ours.pinned, Boolean(chat.pinned), id);
    assert.equal(ours.unread_count, chat.unreadCount ?? 0, id);
    assert.equal(ours.name, chat.name, id);
    const newest = Math.max(...[...messages.values()].map(({ messageTimestamp }) => Number(messageTimestamp)));
    assert.equal(Date.parse(ours.last_message_at), newest * 1000, id);
  }
  // Every tenth chat to the last message.
  for (const [id, { messages }] of [...chats].filter((_, n) => n % 10 === 0 || n === 1000)) {
    const jid = lids.get(id) ?? id;
    const { body } = await instance.get(`/chats/${jid}/messages?per_page=100`);
    const seen = body.messages.map(({ key, content, timestamp }) => [key.id, key.fromMe, content ?? null, Date.parse(timestamp)]);
    const told = [...messages.values()]
      .sort((a, b) => Number(b.messageTimestamp) - Number(a.messageTimestamp))
      .map(({ key, message, messageTimestamp }) => [key.id, key.fromMe, said(message) ?? null, Number(messageTimestamp) * 1000]);
    assert.deepEqual(seen, told, jid);
    assert.equal((await instance.get(`/chats/${jid}`)).body.history.complete, true, jid);
  }
  const reacted = (await instance.get(`/messages/${answer}`)).body.reactions;
  assert.deepEqual(reacted.map(({ emoji }) => emoji), ['🎉']);
  const { body: health } = await instance.get('/health/details');
  assert.deepEqual({ ...health.history, done: 0 }, { waiting: 0, done: 0, failed: 0, messages: 12_002, recent_percent: 100, full_percent: null, last_error: null });
  // It was no news to anybody.
  assert.deepEqual(instance.platform.incoming(), []);
  assert.ok((await listed(instance, '/contacts', 'contacts')).length >= 1000);
  // What comes now is, and is answered with a quotation of what was said before the link.
  const { body: sent } = await instance.post('/send-message', { recipient: bob.number, message: 'indeed', reply_to: hello });
  assert.equal((await bob.message(sent.message_id)).message.extendedTextMessage.contextInfo.stanzaId, hello);
  t.diagnostic(`${irene.histories.items.length} parts for Baileys`);
}, { limit: 400_000 });

story('older messages are told to whoever asks, Baileys and the instance alike', async (cast) => {
  const ines = await cast.phone('Ines');
  await ines.history({ chats: 3, messages: 300, recent: 40 });
  const [irene, instance] = [await cast.companion(ines), await cast.instance()];
  const done = ({ syncType, progress }) => syncType === RECENT && progress === 100;
  await irene.histories.find('the last chunk', done);
  await instance.pair(ines);
  await read(instance);

  const { chats, lids } = gathered(irene.histories.items);
  assert.equal(count(chats), 120);
  const [id, { messages }] = [...chats].find(([id]) => lids.has(id));
  const oldest = [...messages.values()].at(-1);
  const request = await irene.sock.fetchMessageHistory(25, oldest.key, Number(oldest.messageTimestamp));
  const more = await irene.histories.find('older messages', ({ syncType }) => syncType === ON_DEMAND);
  assert.equal(more.peerDataRequestSessionId, request);
  assert.equal(more.messages.length, 25);
  assert.ok(more.messages.every(({ key }) => key.remoteJid === id && !messages.has(key.id)));

  const jid = lids.get(id);
  const asked = await instance.post(`/chats/${jid}/history`, { count: 25 });
  assert.equal(asked.status, 202, JSON.stringify(asked.body));
  const told = await instance.event('history.progress', ({ request_id }) => request_id === asked.body.request_id);
  assert.deepEqual([told.state, told.messages, told.more, told.jid], ['done', 25, true, jid]);
  const { body } = await instance.get(`/chats/${jid}/messages?per_page=100`);
  assert.deepEqual(body.messages.slice(40).map(({ key }) => key.id), more.messages.map(({ key }) => key.id));
});
