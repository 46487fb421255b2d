// Forwards, pins, disappearing chats, sends with a time, batches, lists and previews, between an instance and an
// unmodified Baileys.

import assert from 'node:assert/strict';

import { proto } from 'baileys';

import { textOf } from '../lib/baileys.mjs';
import { png } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';

const DAY = 86_400;

/** The instance is a companion of Ines' phone, Baileys one of Bob's; each has a message of the other. */
async function two(cast, more) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(more), await cast.companion(bob)];
  await instance.pair(ines);
  const { platform } = instance;
  const ours = await bruno.messageWith(await instance.send(bob.number, 'from the instance'));
  const theirs = await bruno.send(ines.jid, 'from Baileys');
  await platform.messageWith(theirs);
  return { ines, bob, instance, bruno, platform, ours, theirs };
}

const contentAt = async (bruno, id) => (await bruno.contentWith(id)).message;

story('a text and a picture are forwarded, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform, theirs } = await two(cast);
  const back = await contentAt(bruno, await instance.sends('/forward', { to: bob.number, message_id: theirs }));
  assert.equal(textOf(back), 'from Baileys');
  assert.deepEqual(
    [back.extendedTextMessage.contextInfo.isForwarded, back.extendedTextMessage.contextInfo.forwardingScore],
    [true, 1],
  );

  const picture = png();
  const id = await bruno.send(ines.jid, { image: picture, caption: 'theirs', jpegThumbnail: null });
  const before = (await platform.messageWith(id)).message.imageMessage;
  const seen = await bruno.contentWith(await instance.sends('/forward', { to: bob.number, message_id: id }));
  const { imageMessage, messageContextInfo } = seen.message;
  assert.equal(Buffer.from(imageMessage.mediaKey).toString('base64'), before.mediaKey, 'nothing is uploaded anew');
  assert.equal(imageMessage.directPath, before.directPath);
  assert.equal(imageMessage.contextInfo.forwardingScore, 1);
  assert.equal(messageContextInfo.messageSecret.length, 32);
  assert.deepEqual(await bruno.download(seen), picture);

  // And Baileys passes it on once more.
  const again = await platform.messageWith(await bruno.send(ines.jid, { forward: seen }));
  assert.deepEqual(again.message.imageMessage.contextInfo, { forwardingScore: 2, isForwarded: true });
  assert.deepEqual((await instance.file(again.key.id)).bytes, picture);

  const unknown = await instance.post('/forward', { to: bob.number, message_id: '3EB000' });
  assert.deepEqual([unknown.status, unknown.body.error.code], [404, 'MESSAGE_NOT_FOUND']);
  const once = await bruno.send(ines.jid, { image: picture, viewOnce: true, jpegThumbnail: null });
  await platform.messageWith(once);
  const refused = await instance.post('/forward', { to: bob.number, message_id: once });
  assert.deepEqual([refused.status, Object.keys(refused.body.error.details)], [422, ['message_id']]);
});

story('a message is pinned and unpinned, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform, ours, theirs } = await two(cast);
  const { PIN_FOR_ALL, UNPIN_FOR_ALL } = proto.Message.PinInChatMessage.Type;
  for (const [value, seconds, type] of [[true, DAY, PIN_FOR_ALL], [false, 0, UNPIN_FOR_ALL]]) {
    const more = value ? { seconds } : {};
    const id = await instance.sends(`/messages/${theirs}/pin`, { to: bob.number, value, ...more });
    const { pinInChatMessage, messageContextInfo } = await contentAt(bruno, id);
    // Seen from the instance, the message is somebody else's.
    assert.deepEqual([pinInChatMessage.type, pinInChatMessage.key.id, pinInChatMessage.key.fromMe], [type, theirs, false]);
    assert.equal(messageContextInfo.messageAddOnDurationInSecs ?? 0, seconds);
    const kind = value ? 'message.pinned' : 'message.unpinned';
    const own = await instance.event(kind, ({ whatsapp_message_id, from_me }) => whatsapp_message_id === theirs && from_me);
    assert.equal(own.seconds, value ? DAY : undefined);
  }
  const key = { remoteJid: ines.jid, fromMe: false, id: ours.id };
  const pinned = await bruno.send(ines.jid, { pin: key, type: PIN_FOR_ALL, time: 604_800 });
  const event = await instance.event('message.pinned', ({ whatsapp_message_id }) => whatsapp_message_id === ours.id);
  assert.deepEqual([event.from_me, event.sender_number, event.seconds], [false, bob.number, 604_800]);
  await bruno.send(ines.jid, { pin: key, type: UNPIN_FOR_ALL });
  await instance.event('message.unpinned', ({ whatsapp_message_id }) => whatsapp_message_id === ours.id);
  // A pin is no message: what comes after it is there, it is not.
  await platform.messageWith(await bruno.send(ines.jid, 'and on'));
  assert.equal(platform.posts.all(({ body }) => body.key?.id === pinned).length, 0);
});

story('a chat whose messages disappear, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const expiry = (message) => message.extendedTextMessage?.contextInfo?.expiration ?? 0;
  await bruno.send(ines.jid, { disappearingMessagesInChat: DAY });
  const set = await instance.event('chat.updated', ({ ephemeral_seconds }) => ephemeral_seconds === DAY);
  assert.deepEqual([set.sender_number, set.previous_ephemeral_seconds, set.jid], [bob.number, 0, bob.jid]);
  assert.equal(expiry(await contentAt(bruno, await instance.send(bob.number, 'gone tomorrow'))), DAY);

  // What Baileys says there carries it, and arrives as ever; in the old wrapper, too.
  const theirs = await bruno.send(ines.jid, 'gone as well', { ephemeralExpiration: DAY });
  const { message } = await platform.messageWith(theirs);
  assert.deepEqual([textOf(message), expiry(message)], ['gone as well', DAY]);

  // The instance's own phone turns it off; the instance hears of that, and Bob's phone turns it on again.
  const off = await ines.send(bob.number, undefined, { ephemeral: 0 });
  await bruno.contentWith(off);
  await instance.event('chat.updated', ({ ephemeral_seconds, from_me }) => ephemeral_seconds === 0 && from_me);
  assert.equal(expiry(await contentAt(bruno, await instance.send(bob.number, 'stays'))), 0);
  await bob.send(ines.number, undefined, { ephemeral: 604_800 });
  await instance.event('chat.updated', ({ ephemeral_seconds }) => ephemeral_seconds === 604_800);
  const picture = { recipient: bob.number, media_type: 'image', media_base64: png().toString('base64') };
  const { imageMessage } = await contentAt(bruno, await instance.sends('/send-media', picture));
  assert.equal(imageMessage.contextInfo.expiration, 604_800);
});

story('what has a time is sent at it, also after a restart', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  const later = (ms) => new Date(Date.now() + ms).toISOString();
  const key = { 'idempotency-key': 'later' };
  const body = { recipient: bob.number, message: 'in two seconds', send_at: later(2000) };
  const { status, body: taken } = await instance.post('/send-message', body, key);
  assert.deepEqual([status, taken.message, taken.scheduled_at], [202, 'Message scheduled', body.send_at]);
  const again = await instance.post('/send-message', body, key);
  assert.deepEqual([again.body, again.headers.get('idempotent-replayed')], [taken, 'true']);
  const picture = { recipient: bob.number, media_type: 'image', media_base64: png().toString('base64') };
  const file = (await instance.post('/send-media', { ...picture, send_at: later(3000) })).body.message_id;
  const gone = (await instance.post('/send-message', { ...body, message: 'never', send_at: later(60_000) })).body.message_id;
  assert.deepEqual((await instance.get('/scheduled')).body.total, 3);
  const cancelled = await instance.call('DELETE', `/scheduled/${gone}`);
  assert.deepEqual([cancelled.status, cancelled.body.status], [200, 'cancelled']);

  await instance.program.end('SIGKILL');
  await instance.start();
  assert.equal((await bruno.messageWith(taken.message_id)).text, 'in two seconds');
  assert.ok(Date.now() >= Date.parse(body.send_at), 'not before its time');
  assert.deepEqual(await bruno.download(await bruno.contentWith(file)), png());
  const { message_id } = taken;
  await instance.event('message.status', (data) => data.whatsapp_message_id === message_id && data.new_status === 'delivered');
  assert.equal((await instance.get(`/scheduled/${message_id}`)).body.status, 'delivered');
  assert.equal((await instance.call('DELETE', `/scheduled/${message_id}`)).body.error.code, 'ALREADY_SENT');
  const past = await instance.post('/send-message', { ...body, send_at: '2020-01-01T00:00:00Z' });
  assert.equal(past.status, 422);
  assert.equal(bruno.messages.all(({ id }) => id === gone).length, 0);
});

story('a batch leaves in order and at its pace, and the rest of it can be cancelled', async (cast) => {
  const { bob, instance, bruno, theirs } = await two(cast);
  const messages = [
    ...[0, 1, 2, 3].map((n) => ({ type: 'text', recipient: bob.number, message: `batch ${n}` })),
    { type: 'location', to: bob.number, latitude: -23.5, longitude: -46.6, name: 'Sé' },
    { type: 'text', recipient: bob.number },
    { type: 'reaction', to: bob.number, messageId: theirs, emoji: '👍' },
    { type: 'reaction', to: bob.number, messageId: '3EB000', emoji: '👍', fromMe: false },
    { type: 'forward', to: bob.number, message_id: '3EB000' },
  ];
  const { status, body } = await instance.post('/send-batch', { messages, pace_ms: 200 });
  assert.deepEqual([status, body.accepted, body.rejected], [202, 7, 2]);
  assert.deepEqual(body.results.map(({ success }) => success), [true, true, true, true, true, false, true, true, false]);
  assert.deepEqual([5, 8].map((n) => body.results[n].error.code), ['VALIDATION_ERROR', 'MESSAGE_NOT_FOUND']);
  const ids = body.results.map(({ message_id }) => message_id);
  for (const [n, id] of ids.slice(0, 4).entries()) assert.equal((await bruno.messageWith(id)).text, `batch ${n}`);
  assert.equal((await contentAt(bruno, ids[4])).locationMessage.name, 'Sé');
  await bruno.reactions.find('the reaction', ({ key }) => key.id === ids[6]);
  assert.deepEqual(bruno.arrived.all((id) => ids.slice(0, 5).includes(id)), ids.slice(0, 5));
  const progress = await done(instance, body.batch_id);
  assert.deepEqual([progress.total, progress.counts.rejected], [9, 2]);

  const many = Array.from({ length: 50 }, (_, n) => ({ type: 'text', to: bob.number, message: `slow ${n}` }));
  const slow = (await instance.post('/send-batch', { messages: many, pace_ms: 60_000 })).body;
  await bruno.messageWith(slow.results[0].message_id);
  const { body: cancelled } = await instance.call('DELETE', `/batches/${slow.batch_id}`);
  assert.equal(cancelled.counts.cancelled, 49);
  assert.equal((await instance.get('/batches/none')).body.error.code, 'BATCH_NOT_FOUND');
});

/** Waits until nothing of a batch is under way. */
async function done(instance, id) {
  for (;;) {
    const { body } = await instance.get(`/batches/${id}`);
    if (!body.counts.queued && !body.counts.sent) return body;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

story('a list and buttons arrive as texts that can be answered by a number', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  const sections = [{ title: 'Pizza', rows: [{ id: 'm', title: 'Margherita', description: 'cheese' }, { id: 'n', title: 'Marinara' }] }];
  const list = (await instance.post('/send-list', { to: bob.number, title: 'Menu', text: 'Which?', button_text: 'Open', sections })).body;
  assert.deepEqual([list.degraded, list.choices.map(({ id }) => id)], [true, ['m', 'n']]);
  assert.equal((await bruno.messageWith(list.message_id)).text, '*Menu*\n\nWhich?\n\n*Pizza*\n1. Margherita – cheese\n2. Marinara');
  const buttons = [{ id: 'y', title: 'Yes' }, { id: 'n', title: 'No' }];
  const asked = (await instance.post('/send-buttons', { to: bob.number, text: 'Sure?', buttons })).body;
  assert.equal((await bruno.messageWith(asked.message_id)).text, 'Sure?\n\n1. Yes\n2. No');
});

story('a text carries the preview of its link, and is sent without one where there is none', async (cast) => {
  const { bob, instance, bruno } = await two(cast, ['--media-allow-private']);
  const html = `<html><head><title>Plain</title><meta property="og:title" content="S&atilde;o &amp; Paulo">
    <meta property="og:description" content="A city"><meta property="og:image" content="/a.png"></head></html>`;
  const shelf = await cast.shelf({
    '/page': { type: 'text/html; charset=utf-8', bytes: Buffer.from(html) },
    '/large': { type: 'text/html', bytes: Buffer.concat([Buffer.from('<title>Large</title>'), Buffer.alloc(2 << 20, 32)]) },
    '/a.png': { type: 'image/png', bytes: png({ side: 200 }) },
    '/file': { type: 'application/pdf', bytes: Buffer.from('%PDF-1.4 <title>no</title>') },
    '/slow': { hangs: true },
  });
  const send = async (text) => {
    const { extendedTextMessage, conversation } = await contentAt(bruno, await instance.send(bob.number, text, { link_preview: true }));
    assert.equal(extendedTextMessage?.text ?? conversation, text);
    return extendedTextMessage ?? {};
  };
  const seen = await send(`look at ${shelf.url}/page, will you?`);
  assert.deepEqual([seen.matchedText, seen.title, seen.description], [`${shelf.url}/page`, 'São & Paulo', 'A city']);
  assert.deepEqual([...seen.jpegThumbnail.subarray(0, 2)], [0xff, 0xd8]);
  assert.ok(seen.jpegThumbnail.length <= 4096);
  assert.equal((await send(`${shelf.url}/large`)).title, 'Large');
  for (const path of ['/file', '/nothing']) assert.equal((await send(shelf.url + path)).matchedText ?? '', '');
  const before = Date.now();
  assert.equal((await send(`${shelf.url}/slow`)).matchedText ?? '', '');
  const took = Date.now() - before;
  assert.ok(took >= 4500 && took < 8000, `a page that hangs costs five seconds, not ${took} ms`);
  const plain = await contentAt(bruno, await instance.send(bob.number, `${shelf.url}/page`));
  assert.equal(plain.extendedTextMessage?.title ?? '', '');
});

story('a preview reaches no further than a file would', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  const shelf = await cast.shelf({ '/page': { type: 'text/html', bytes: Buffer.from('<title>secret</title>') } });
  const text = `${shelf.url}/page`;
  const message = await contentAt(bruno, await instance.send(bob.number, text, { link_preview: true }));
  assert.equal(textOf(message), text);
  assert.equal(message.extendedTextMessage?.title ?? '', '');
});

story('typing ends by itself', async (cast) => {
  const { ines, bob, instance, bruno } = await two(cast);
  await bruno.sock.presenceSubscribe(ines.jid);
  await bruno.presences.find('being online', ({ state }) => state === 'available');
  const since = bruno.presences.items.length;
  const later = (item) => bruno.presences.items.indexOf(item) >= since;
  const { status } = await instance.post('/send-presence', { to: bob.number, state: 'typing', seconds: 1 });
  assert.equal(status, 200);
  await bruno.presences.find('typing', (item) => later(item) && item.state === 'composing');
  const typing = bruno.presences.items.findIndex((item) => later(item) && item.state === 'composing');
  await bruno.presences.find('its end', (item) => item.state === 'available' && bruno.presences.items.indexOf(item) > typing);
});
