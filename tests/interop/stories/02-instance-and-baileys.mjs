// An instance and an unmodified Baileys client talk through the sandbox.

import assert from 'node:assert/strict';

import { newest } from '../lib/instance.mjs';
import { story } from '../lib/story.mjs';
import { LONG, UNICODE } from '../lib/texts.mjs';
import { textOf } from '../lib/webhooks.mjs';

/** The instance is a companion of Ines' phone, Baileys one of Bob's. */
async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  const connected = await instance.pair(ines);
  assert.equal(connected.phone_number, ines.number);
  return { ines, bob, instance, bruno, platform: instance.platform };
}

story('an instance pairs, sends and receives: the first message and later ones', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  for (const round of [1, 2, 3]) {
    const heard = await bruno.messageWith(await instance.send(bob.number, `from the instance ${round}`));
    assert.equal(heard.text, `from the instance ${round}`);
    const id = await bruno.send(ines.jid, `from Baileys ${round}`);
    const post = await platform.messageWith(id);
    assert.equal(textOf(post), `from Baileys ${round}`);
    assert.deepEqual(post.key, { remoteJid: bob.jid, fromMe: false, id, ...alt(post) });
    assert.equal(post.remoteJid, bob.jid);
    assert.equal(post.isGroup, false);
    assert.equal(post.pushName, 'Bob');
    assert.ok(Math.abs(post.messageTimestamp - Date.now() / 1000) < 120);
  }
  const { status, phone, name, platform: kind } = await instance.status();
  assert.deepEqual([status, phone, name, kind], ['connected', ines.number, 'Ines', 'android']);
});

story('Baileys may write first', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const id = await bruno.send(ines.jid, 'hello');
  assert.equal(textOf(await platform.messageWith(id)), 'hello');
  assert.equal((await bruno.messageWith(await instance.send(bob.number, 'hello yourself'))).text, 'hello yourself');
});

/**
 * Two sessions then stand side by side. Baileys' Signal library tries one after the other and keeps what the vain
 * attempt did to the first (it steps its ratchet), so that its own session is of no use any more; what is lost by that
 * comes back because each side asks for it again.
 */
story('both may write first at the same moment', async (cast) => {
  cast.expected.push(/No matching sessions found|"SessionError".*transaction failed|with any known session|Session error:/);
  cast.expected.push(/Decrypted message with closed session|Closing open session in favor of incoming prekey bundle/);
  const { ines, bob, instance, bruno, platform } = await two(cast);
  for (const round of [1, 2, 3]) {
    const [sent, received] = await Promise.all([
      instance.send(bob.number, `crossing ${round}`),
      bruno.send(ines.jid, `crossing, too ${round}`),
    ]);
    assert.equal((await bruno.messageWith(sent)).text, `crossing ${round}`);
    assert.equal(textOf(await platform.messageWith(received)), `crossing, too ${round}`);
  }
  assertOnce(platform);
});

story('emoji, scripts, controls and 60,000 characters pass unchanged', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  for (const text of [UNICODE, LONG]) {
    assert.equal((await bruno.messageWith(await instance.send(bob.number, text))).text, text);
    assert.equal(textOf(await platform.messageWith(await bruno.send(ines.jid, text))), text);
  }
});

story('replies carry what they quote, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const asked = await bruno.messageWith(await instance.send(bob.number, 'what is the time?'));
  const quoted = { key: asked.key, message: asked.message };
  const answered = await platform.messageWith(await bruno.send(ines.jid, 'late', { quoted }));
  assert.equal(textOf(answered), 'late');
  const { contextInfo } = answered.message.extendedTextMessage;
  assert.equal(contextInfo.stanzaId, asked.id);

  const thanks = await bruno.messageWith(await instance.send(bob.number, 'thanks', { reply_to: answered.key.id }));
  assert.equal(thanks.text, 'thanks');
  const quote = thanks.message.extendedTextMessage.contextInfo;
  assert.equal(quote.stanzaId, answered.key.id);
  assert.equal(quote.quotedMessage.conversation ?? quote.quotedMessage.extendedTextMessage.text, 'late');
  // Whose it was: Baileys' own number, under either of its names.
  assert.ok([bob.jid, bob.lid].includes(quote.participant), quote.participant);
});

story('what the instance sent is reported as sent, delivered and read, in this order', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const id = await instance.send(bob.number, 'seen?');
  const heard = await bruno.messageWith(id);
  await platform.statuses(id, 3);
  await bruno.read(heard);
  assert.deepEqual(await platform.statuses(id, 4), [2, 3, 4]);
  // And what it received counts as delivered over there.
  await bruno.status(await bruno.send(ines.jid, 'there?'), 3);
});

story('a request with a known idempotency key sends nothing again', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  const body = { recipient: bob.number, message: 'once' };
  const key = { 'idempotency-key': 'order-17' };
  const first = await instance.post('/send-message', body, key);
  const again = await instance.post('/send-message', body, key);
  assert.deepEqual([first.status, again.status], [200, 200]);
  assert.equal(again.body.message_id, first.body.message_id);
  assert.equal(again.headers.get('idempotent-replayed'), 'true');
  const other = await instance.post('/send-message', { ...body, message: 'twice' }, key);
  assert.deepEqual([other.status, other.body.error.code], [409, 'IDEMPOTENCY_CONFLICT']);
  await bruno.messageWith(await instance.send(bob.number, 'the end'));
  assert.deepEqual(bruno.decrypted.items.map(({ text }) => text), ['once', 'the end']);
});

for (const [how, end] of [['a clean stop', 'stop'], ['kill -9', 'kill']]) {
  story(`after ${how} the instance goes on, and gets what was sent meanwhile`, async (cast) => {
    const { ines, bob, instance, bruno, platform } = await two(cast);
    await bruno.messageWith(await instance.send(bob.number, 'before'));
    await platform.messageWith(await bruno.send(ines.jid, 'before, too'));
    await instance[end]();
    const missed = [];
    for (const round of [1, 2, 3]) missed.push(await bruno.send(ines.jid, `meanwhile ${round}`));
    const since = platform.posts.items.length;
    await instance.start();
    for (const id of missed) assert.match(textOf(await platform.messageWith(id)), /^meanwhile \d$/);
    await platform.connection('connected', since);
    assert.equal((await bruno.messageWith(await instance.send(bob.number, 'back'))).text, 'back');
    assert.equal(textOf(await platform.messageWith(await bruno.send(ines.jid, 'welcome'))), 'welcome');
    assertOnce(platform);
    assert.deepEqual(platform.incoming().map((post) => textOf(post)).filter((text) => text.startsWith('meanwhile')), [
      'meanwhile 1',
      'meanwhile 2',
      'meanwhile 3',
    ]);
  });
}

story('after a restart of Baileys both go on', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  await bruno.messageWith(await instance.send(bob.number, 'before'));
  await platform.messageWith(await bruno.send(ines.jid, 'before, too'));
  await bruno.stop();
  const missed = [];
  for (const round of [1, 2, 3]) missed.push(await instance.send(bob.number, `meanwhile ${round}`));
  await bruno.start();
  for (const id of missed) assert.match((await bruno.messageWith(id)).text, /^meanwhile \d$/);
  assert.equal(textOf(await platform.messageWith(await bruno.send(ines.jid, 'back'))), 'back');
  assert.equal((await bruno.messageWith(await instance.send(bob.number, 'welcome'))).text, 'welcome');
});

story('an instance and Baileys as companions of one number both get every message, and own copies', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const irene = await cast.companion(ines);
  for (const round of [1, 2]) {
    const id = await bruno.send(ines.jid, `to both ${round}`);
    assert.equal((await irene.messageWith(id)).text, `to both ${round}`);
    assert.equal(textOf(await platform.messageWith(id)), `to both ${round}`);

    const byInstance = await instance.send(bob.number, `by the instance ${round}`);
    const copy = await irene.messageWith(byInstance);
    assert.deepEqual([copy.text, copy.fromMe], [`by the instance ${round}`, true]);
    assert.equal((await bruno.messageWith(byInstance)).text, `by the instance ${round}`);

    const byBaileys = await irene.send(bob.jid, `by Baileys ${round}`);
    const post = await platform.messageWith(byBaileys);
    assert.deepEqual([textOf(post), post.key.fromMe, post.remoteJid], [`by Baileys ${round}`, true, bob.jid]);
    assert.equal((await bruno.messageWith(byBaileys)).text, `by Baileys ${round}`);
  }
  assertOnce(platform);
});

story('the phone itself and the instance tell each other what they send', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const sent = await ines.send(bob.number, 'typed on the phone');
  const post = await platform.messageWith(sent);
  assert.deepEqual([textOf(post), post.key.fromMe, post.remoteJid], ['typed on the phone', true, bob.jid]);
  const id = await instance.send(bob.number, 'sent by the instance');
  assert.equal((await ines.message(id)).text, 'sent by the instance');
  assert.equal((await bruno.messageWith(sent)).text, 'typed on the phone');
  assert.equal((await newest(ines)).online, true);
});

/** The other name of the chat, where the instance knows it. */
const alt = ({ key }) => (key.remoteJidAlt === undefined ? {} : { remoteJidAlt: key.remoteJidAlt });

/** Every message was posted once. */
function assertOnce(platform) {
  const ids = platform.incoming().map((post) => post.key.id);
  assert.deepEqual(ids.filter((id, index) => ids.indexOf(id) !== index), []);
}

story('numbers are checked: who has an account, and under which names', async (cast) => {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const instance = await cast.instance();
  const check = (numbers) => instance.post('/check-number', { numbers });
  assert.equal((await check([bob.number])).status, 503);
  await instance.pair(ines);
  const { status, body } = await check([`+${bob.number}`, '5511900000000']);
  assert.equal(status, 200);
  const [found, nobody] = body.results;
  assert.deepEqual([found.number, found.exists, found.jid], [`+${bob.number}`, true, bob.jid]);
  assert.match(found.lid, /@lid$/);
  assert.deepEqual(nobody, { number: '5511900000000', exists: false, jid: null, lid: null });
});
