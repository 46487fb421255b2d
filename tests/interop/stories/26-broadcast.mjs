// Broadcast lists: a phone tells many people something, and each has it in the chat of two.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

story('an instance and a Baileys both read what a phone tells its list, and its own companions know to whom', async (cast) => {
  const phones = [];
  for (const name of ['Ines', 'Bob', 'Dora', 'Eva']) phones.push(await cast.phone(name));
  const [ines, bob, dora, eva] = phones;
  const instance = await cast.instance();
  const bruno = await cast.companion(bob);
  await instance.pair(ines);

  for (const text of ['to all of you', 'and again']) {
    const { id } = await cast.sandbox.post(`${dora.path}/send`, { to: [ines.number, bob.number, eva.number], text });
    const post = await instance.platform.messageWith(id);
    assert.deepEqual([textOf(post), post.remoteJid, post.key.fromMe], [text, dora.jid, false]);
    const received = await bruno.messageWith(id);
    assert.equal(received.text, text);
    assert.match(received.key.remoteJid, /^\d+@broadcast$/);
    assert.equal(received.key.participant, dora.jid);
    assert.equal((await eva.message(id)).text, text);
  }

  // What the own phone tells its list: the instance shows it with each of them.
  const { id } = await cast.sandbox.post(`${ines.path}/send`, { to: [bob.number, dora.number], text: 'news' });
  for (const friend of [bob, dora]) {
    const sent = await instance.event(
      'message.sent',
      (data) => data.whatsapp_message_id === id && data.recipient_number === friend.number,
    );
    assert.equal(sent.content, 'news');
  }
  assert.equal((await bruno.messageWith(id)).text, 'news');
});
