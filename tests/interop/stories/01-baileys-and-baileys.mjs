// Two unmodified Baileys clients talk through the sandbox.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';
import { LONG, UNICODE } from '../lib/texts.mjs';

async function two(cast) {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  return { ana, bob, alice: await cast.companion(ana), bruno: await cast.companion(bob) };
}

story('two clients pair and talk: the first message and later ones, both ways', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  for (const round of [1, 2, 3]) {
    const question = await alice.send(bob.jid, `question ${round}`);
    const heard = await bruno.messageWith(question);
    assert.equal(heard.text, `question ${round}`);
    assert.equal(heard.fromMe, false);
    const answer = await bruno.send(ana.jid, `answer ${round}`);
    assert.equal((await alice.messageWith(answer)).text, `answer ${round}`);
  }
  // The phones, devices 0, got them too.
  assert.deepEqual((await texts(bob, 6)).sort(), ['answer 1', 'answer 2', 'answer 3', 'question 1', 'question 2', 'question 3']);
});

story('emoji, scripts, controls and 60,000 characters arrive as they were sent', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  for (const text of [UNICODE, LONG]) {
    assert.equal((await bruno.messageWith(await alice.send(bob.jid, text))).text, text);
    assert.equal((await alice.messageWith(await bruno.send(ana.jid, text))).text, text);
  }
});

story('a reply carries what it quotes', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  const asked = await bruno.messageWith(await alice.send(bob.jid, 'what is the time?'));
  const quoted = { key: asked.key, message: asked.message };
  const reply = await alice.messageWith(await bruno.send(ana.jid, 'late', { quoted }));
  const { contextInfo } = reply.message.extendedTextMessage;
  assert.equal(contextInfo.stanzaId, asked.id);
  assert.equal(contextInfo.quotedMessage.conversation ?? contextInfo.quotedMessage.extendedTextMessage.text, 'what is the time?');
});

story('delivery and reading are seen on both sides', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  for (const [from, to, phone] of [[alice, bruno, bob], [bruno, alice, ana]]) {
    const id = await from.send(phone.jid, 'seen?');
    await from.status(id, 3);
    await to.read(await to.messageWith(id));
    await from.status(id, 4);
  }
});

story('a client that restarts goes on, and gets what was sent while it was away', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  await bruno.messageWith(await alice.send(bob.jid, 'before'));
  await bruno.stop();
  const missed = [];
  for (const round of [1, 2, 3]) missed.push(await alice.send(bob.jid, `while you were away ${round}`));
  await bruno.start();
  for (const id of missed) assert.match((await bruno.messageWith(id)).text, /^while you were away \d$/);
  assert.equal((await alice.messageWith(await bruno.send(ana.jid, 'back'))).text, 'back');
  assert.equal((await bruno.messageWith(await alice.send(bob.jid, 'welcome'))).text, 'welcome');
  assert.deepEqual(repeated(bruno), []);
});

story('two companions of one number both get every message, and own copies', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  const anotherBruno = await cast.companion(bob);
  for (const round of [1, 2]) {
    const id = await alice.send(bob.jid, `to both ${round}`);
    assert.equal((await bruno.messageWith(id)).text, `to both ${round}`);
    assert.equal((await anotherBruno.messageWith(id)).text, `to both ${round}`);
    for (const [speaker, other] of [[bruno, anotherBruno], [anotherBruno, bruno]]) {
      const own = await speaker.send(ana.jid, `one of us ${round}`);
      const copy = await other.messageWith(own);
      assert.equal(copy.text, `one of us ${round}`);
      assert.equal(copy.fromMe, true);
      assert.equal((await alice.messageWith(own)).text, `one of us ${round}`);
    }
  }
  assert.deepEqual([...repeated(alice), ...repeated(bruno), ...repeated(anotherBruno)], []);
});

story('a client that the phone unlinks is logged out, and the other goes on', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  cast.expected.push(/device_removed.*stream errored out/);
  const [{ device }] = await bob.companions();
  await bob.unlink(device);
  await bruno.closed(401);
  assert.deepEqual(await bob.companions(), []);
  const id = await alice.send(bob.jid, 'anybody?');
  assert.equal((await bob.message(id)).text, 'anybody?');
  assert.equal((await alice.messageWith(await bob.send(ana.number, 'only the phone'))).text, 'only the phone');
});

/** Ids that a client reported more than once. */
function repeated(client) {
  const ids = client.messages.all((message) => message.text !== undefined).map((message) => message.id);
  return ids.filter((id, index) => ids.indexOf(id) !== index);
}

async function texts(phone, count) {
  const seen = [];
  for (let after; seen.length < count; after = seen.at(-1).id) seen.push(...(await phone.messages(after)));
  return seen.map((message) => message.text);
}
