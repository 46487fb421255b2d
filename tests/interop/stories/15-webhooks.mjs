// The user's own webhook: an unmodified Baileys client writes, and a web server in Node verifies what it is told.

import assert from 'node:assert/strict';

import { png } from '../lib/files.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { story } from '../lib/story.mjs';
import { LONG, UNICODE } from '../lib/texts.mjs';

const UUID = '550e8400-e29b-41d4-a716-446655440000';
const SECRET = 'your_webhook_secret é';

/** An instance of Ines' with a webhook, and a Baileys client of Bob's. */
async function set(cast, { answer, events } = {}) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(['--instance-id', UUID]), await cast.companion(bob)];
  const receiver = await new Receiver(SECRET, answer).start();
  cast.shelves.push(receiver);
  const { status, body } = await instance.call('PUT', `/instances/${UUID}/webhook`, {
    webhook_url: receiver.url,
    webhook_secret: SECRET,
    ...(events ? { events } : {}),
  });
  assert.equal(status, 200, JSON.stringify(body));
  assert.deepEqual([body.data.webhook.webhook_url, body.data.webhook.has_secret], [receiver.url, true]);
  await instance.pair(ines);
  return { ines, bob, instance, bruno, receiver };
}

/** The user's hook, as `GET /webhooks` shows it. */
const hook = async (instance) => (await instance.get('/webhooks')).body.webhooks.find(({ kind }) => kind === 'user');

/** Waits until the receiver has everything. */
async function caughtUp(instance) {
  for (;;) {
    const { lag } = await hook(instance);
    if (lag.events === 0) return;
    await instance.get('/events?after=9007199254740991&wait=1');
  }
}

function assertSound(receiver) {
  assert.deepEqual(receiver.posts.all(({ event }) => event === 'broken'), []);
}

story('every event is signed so that both documented ways of verifying it work', async (cast) => {
  const { ines, bob, instance, bruno, receiver } = await set(cast, { events: ['*'] });
  const { data: connected } = await receiver.find('connected', 'instance.connected', () => true);
  assert.deepEqual(connected, { previous_status: connected.previous_status, new_status: 'connected', phone_number: ines.number });
  for (const text of [UNICODE, LONG]) {
    const { data } = await receiver.messageWith(await bruno.send(ines.jid, text));
    assert.equal(data.content, text);
    assert.deepEqual(Object.keys(data), [
      ...['message_id', 'whatsapp_message_id', 'sender_number', 'sender_name', 'content'],
      ...['media_type', 'media_url', 'timestamp', 'conversation_id'],
    ]);
    assert.deepEqual([data.sender_number, data.sender_name, data.media_type], [bob.number, 'Bob', null]);
    assert.ok(Number.isInteger(data.conversation_id));
  }
  const id = await instance.send(bob.number, UNICODE);
  const { data: sent } = await receiver.find('what was sent', 'message.sent', (data) => data.whatsapp_message_id === id);
  assert.deepEqual([sent.content, sent.recipient_number], [UNICODE, bob.number]);
  await bruno.read(await bruno.messageWith(id));
  const { data: read } = await receiver.find('read', 'message.status', ({ new_status }) => new_status === 'read');
  assert.equal(read.message_id, sent.message_id);

  // A file, for whoever has its link.
  const { data: seen } = await receiver.messageWith(await bruno.send(ines.jid, { image: png(), jpegThumbnail: null, caption: 'look' }));
  assert.deepEqual([seen.media_type, seen.content], ['image', 'look']);
  const file = await fetch(seen.media_url);
  assert.deepEqual([file.status, Buffer.from(await file.arrayBuffer()).equals(png())], [200, true]);
  for (const wrong of [seen.media_url.slice(0, -1), seen.media_url.replace('expires=', 'expires=9'), seen.media_url.split('?')[0]]) {
    assert.equal((await fetch(wrong)).status, 401, wrong);
  }

  // What comes besides the six, and what has fractions.
  const post = { recipient: bob.number, latitude: -23.5505, longitude: -46.6333, name: 'Sé' };
  const place = await instance.sends('/send-location', post);
  await receiver.find('the place', 'message.sent', (data) => data.whatsapp_message_id === place);
  await instance.sends('/send-reaction', { recipient: bob.number, messageId: id, emoji: '👍🏽' });
  await receiver.find('the reaction', 'message.reaction', ({ emoji }) => emoji === '👍🏽');
  await instance.sends(`/messages/${id}`, { recipient: bob.number, message: 'edited' }, 'PATCH');
  await receiver.find('the edit', 'message.edited', ({ content }) => content === 'edited');
  // Baileys forgets its session with a device that is unlinked, also for what it has not read yet.
  await bruno.changes.find('the edit at Baileys', (change) => change.id === id);
  const { body: well } = await instance.get('/health/details');
  assert.deepEqual([well.verdict, well.problems, well.link.offline_queue.done], ['ok', [], true], JSON.stringify(well));
  assert.ok(well.link.last_stanza_in_seconds < 30 && well.link.last_stanza_out_seconds < 30);
  await instance.post('/disconnect', { logout: true });
  const { body: ill } = await instance.get('/health/details');
  assert.deepEqual([ill.verdict, ill.problems[0].code, ill.link.last_ends[0].cause], ['down', 'disconnected', 'requested']);
  const { data: ended } = await receiver.find('the end', 'instance.disconnected', () => true);
  assert.deepEqual(Object.entries(ended).flat(), [
    ...['previous_status', 'connected', 'new_status', 'disconnected', 'phone_number', ines.number, 'reason', 'requested'],
  ]);
  await instance.post('/connect');
  const { data: code } = await receiver.find('a code', 'instance.qr', () => true);
  assert.deepEqual(Object.keys(code), ['status', 'qr_code', 'qr_code_text', 'qr_generated_at']);
  assert.match(code.qr_code, /^data:image\/png;base64,/);
  await caughtUp(instance);
  assertSound(receiver);
  // Each once, and the log agrees.
  const ids = receiver.posts.items.map((each) => each.id);
  assert.equal(new Set(ids).size, ids.length);
  const { body } = await instance.get('/events?limit=1000');
  const told = new Map(receiver.taken().map((each) => [JSON.stringify(each.data), each.event]));
  const first = body.events.findIndex(({ type }) => type === 'instance.connected');
  for (const event of body.events.slice(first)) {
    assert.equal(told.get(JSON.stringify(event.data)), event.type);
  }
});

story('by default the six events come, and no others', async (cast) => {
  const { bob, instance, bruno, receiver } = await set(cast);
  const id = await instance.send(bob.number, 'one');
  await bruno.messageWith(id);
  await instance.sends('/send-reaction', { recipient: bob.number, messageId: id, emoji: '👍' });
  const last = await instance.send(bob.number, 'two');
  await receiver.find('the last', 'message.sent', (data) => data.whatsapp_message_id === last);
  assertSound(receiver);
  const six = ['instance.connected', 'instance.disconnected', 'instance.qr', 'message.received', 'message.sent', 'message.status'];
  assert.deepEqual(receiver.posts.all(({ event }) => !six.includes(event)), []);
});

story('a receiver that is down and comes back gets everything, in order, across a restart', async (cast) => {
  const { ines, bob, instance, bruno, receiver } = await set(cast);
  await receiver.messageWith(await bruno.send(ines.jid, 'before'));
  await receiver.stop();
  const texts = ['before'];
  for (let n = 0; n < 20; n += 1) {
    texts.push(`meanwhile ${n}`);
    await bruno.send(ines.jid, `meanwhile ${n}`);
  }
  await instance.event('message.received', ({ content }) => content === 'meanwhile 19');
  await instance.kill();
  await instance.start();
  const { lag, dead_letters: dead, last_error: error } = await hook(instance);
  assert.ok(lag.events >= 20, `${lag.events}`);
  assert.deepEqual([dead, error], [0, 'cannot connect']);
  await receiver.start();
  const after = await bruno.send(ines.jid, 'after');
  texts.push('after');
  await receiver.messageWith(after, 100_000);
  await caughtUp(instance);
  assertSound(receiver);
  assert.deepEqual(receiver.taken('message.received').map(({ data }) => data.content), texts);
  assert.equal((await hook(instance)).dead_letters, 0);
  assert.equal(receiver.taken('message.received')[0].data.sender_number, bob.number);
});

story('a receiver that answers 500 at random loses nothing and delays no other chat', async (cast) => {
  // Bob's posts fail at random, but each at most once, so that the story ends; Carla's never do.
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const carla = {};
  const answer = ({ data, attempt }) =>
    data.sender_number === undefined || data.sender_number === carla.number || attempt > 1 || random() < 0.6 ? 200 : 500;
  const { ines, bob, instance, bruno, receiver } = await set(cast, { answer });
  const carlas = await cast.phone('Carla');
  carla.number = carlas.number;
  const chloe = await cast.companion(carlas);
  for (let n = 0; n < 8; n += 1) {
    await bruno.send(ines.jid, `bob ${n}`);
    const started = Date.now();
    const post = await receiver.messageWith(await chloe.send(ines.jid, `carla ${n}`));
    assert.ok(post.at - started < 5_000, `Carla waited ${post.at - started} ms`);
  }
  const last = ({ sender_number: number, content }) => number === bob.number && content === 'bob 7';
  await receiver.find('the last of Bob', 'message.received', last, 120_000);
  await caughtUp(instance);
  assertSound(receiver);
  const of = (number) =>
    receiver.taken('message.received').filter(({ data }) => data.sender_number === number).map(({ data }) => data.content);
  assert.deepEqual(of(bob.number), Array.from({ length: 8 }, (_, n) => `bob ${n}`));
  assert.deepEqual(of(carla.number), Array.from({ length: 8 }, (_, n) => `carla ${n}`));
  // What failed came again as it was, ten seconds later.
  const failures = receiver.posts.all(({ status }) => status === 500);
  assert.ok(failures.length > 0);
  for (const failed of failures) {
    const [first, second] = receiver.posts.all(({ id }) => id === failed.id);
    assert.deepEqual([first.attempt, second.attempt, second.raw], [1, 2, first.raw]);
    assert.ok(second.at - first.at >= 9_900, `${second.at - first.at}`);
  }
});

story('a hook is paused, resumed and rewound, and a receiver that is gone pauses it', async (cast) => {
  const gone = { is: false };
  const { ines, instance, bruno, receiver } = await set(cast, { answer: () => (gone.is ? 410 : 200) });
  const first = await receiver.messageWith(await bruno.send(ines.jid, 'one'));
  const { id } = await hook(instance);
  assert.equal((await instance.post(`/webhooks/${id}/pause`)).status, 200);
  const two = await bruno.send(ines.jid, 'two');
  await instance.event('message.received', ({ content }) => content === 'two');
  assert.equal((await hook(instance)).paused, 'requested');
  assert.deepEqual(receiver.taken('message.received').map(({ data }) => data.content), ['one']);
  assert.equal((await instance.post(`/webhooks/${id}/resume`)).status, 200);
  await receiver.messageWith(two);

  await caughtUp(instance);
  const { body } = await instance.get('/events?types=message.received');
  assert.equal((await instance.post(`/webhooks/${id}/rewind`, { to: body.events[0].seq })).status, 200);
  const again = await receiver.posts.count('the first again', 2, (post) => post.id === first.id);
  assert.equal(again[0].raw, again[1].raw);
  await caughtUp(instance);

  gone.is = true;
  const three = await bruno.send(ines.jid, 'three');
  await receiver.posts.find('410', ({ status }) => status === 410);
  while ((await hook(instance)).paused !== 'gone') await instance.get('/events?after=9007199254740991&wait=1');
  gone.is = false;
  assert.equal((await instance.post(`/webhooks/${id}/resume`)).status, 200);
  await receiver.messageWith(three);
  assertSound(receiver);
});
