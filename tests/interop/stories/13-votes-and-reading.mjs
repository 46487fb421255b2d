// Votes in polls, sealed and opened with the functions that Baileys ships for them, and how messages read afterwards.

import assert from 'node:assert/strict';

import { aesEncryptGCM, decryptPollVote, hmacSign, proto, sha256 } from 'baileys';

import { story } from '../lib/story.mjs';

const OPTIONS = ['sim', 'não', '🍕'];

async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  return { ines, bob, instance, bruno, platform: instance.platform };
}

const lidOf = ({ lid }) => (lid.includes('@') ? lid : `${lid}@lid`);

/** A vote as Baileys' own parts make it: it ships the opening of votes, and what sealing needs, but no sealing. */
function sealed({ id, creator, voter, secret, names }) {
  const sign = Buffer.concat([...[id, creator, voter, 'Poll Vote'].map((part) => Buffer.from(part)), Buffer.from([1])]);
  const key = hmacSign(sign, hmacSign(secret, new Uint8Array(32), 'sha256'), 'sha256');
  const selectedOptions = names.map((name) => sha256(Buffer.from(name)));
  const plain = proto.Message.PollVoteMessage.encode({ selectedOptions }).finish();
  const encIv = Buffer.alloc(12, names.length);
  const vote = { encIv, encPayload: aesEncryptGCM(plain, key, encIv, Buffer.from(`${id}\u0000${voter}`)) };
  // What it makes, its own function opens.
  const opened = decryptPollVote(vote, { pollCreatorJid: creator, pollMsgId: id, pollEncKey: secret, voterJid: voter });
  assert.deepEqual(chosen(opened), names);
  return vote;
}

const chosen = ({ selectedOptions }) =>
  OPTIONS.filter((name) => selectedOptions.some((hash) => Buffer.from(hash).equals(sha256(Buffer.from(name)))));

const counts = ({ options }) => options.map(({ votes }) => votes);

/** Waits for as many votes in the log, and reads the tally. */
async function tallyAfter(instance, fits, id) {
  await instance.event('poll.vote', fits);
  const { status, body } = await instance.get(`/polls/${id}`);
  assert.equal(status, 200);
  return body;
}

story('votes of Baileys and of a phone count in a poll of the instance', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const id = await instance.sends('/send-poll', { to: bob.number, question: 'Pizza?', options: OPTIONS, multiple: true });
  const { key, message } = await bruno.contentWith(id);
  const secret = message.messageContextInfo.messageSecret;
  for (const [creator, voter] of [[lidOf(ines), lidOf(bob)], [ines.jid, bob.jid]]) {
    const names = voter === bob.jid ? ['não'] : ['sim', '🍕'];
    const vote = sealed({ id, creator, voter, secret, names });
    const pollUpdateMessage = { pollCreationMessageKey: key, vote, senderTimestampMs: Date.now() };
    const sent = await bruno.sock.relayMessage(ines.jid, { pollUpdateMessage }, {});
    const tally = await tallyAfter(instance, ({ options }) => options.join() === names.join(), id);
    assert.deepEqual(counts(tally), OPTIONS.map((name) => Number(names.includes(name))));
    const [voted] = tally.options.flatMap(({ voters }) => voters);
    assert.deepEqual([voted.jid, voted.lid, voted.phone], [bob.jid, lidOf(bob), bob.number]);
    const post = await platform.messageWith(sent);
    assert.deepEqual(post.vote, { options: names, id });
  }
  await bob.send(ines.jid, undefined, { vote: { id, options: ['sim'] } });
  const tally = await tallyAfter(instance, ({ options }) => options.join() === 'sim', id);
  assert.deepEqual([counts(tally), tally.voters], [[1, 0, 0], 1], 'one person, whichever device voted');
});

story('Baileys opens the votes of the instance, in its own poll and in the other one', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const names = ['🍕'];
  const ours = await instance.sends('/send-poll', { to: bob.number, question: 'Pizza?', options: OPTIONS });
  const secret = (await bruno.contentWith(ours)).message.messageContextInfo.messageSecret;
  const theirs = await bruno.send(ines.jid, { poll: { name: 'Pizza?', values: OPTIONS, selectableCount: 1 } });
  await platform.messageWith(theirs);
  const polls = [
    { id: ours, secret, creator: lidOf(ines) },
    { id: theirs, secret: bruno.sentContent(theirs).messageContextInfo.messageSecret, creator: lidOf(bob) },
  ];
  for (const { id, secret, creator } of polls) {
    const sent = await instance.sends(`/polls/${id}/vote`, { to: bob.number, options: names });
    const { pollUpdateMessage } = (await bruno.contentWith(sent)).message;
    assert.equal(pollUpdateMessage.pollCreationMessageKey.id, id);
    const bound = { pollCreatorJid: creator, pollMsgId: id, pollEncKey: secret, voterJid: lidOf(ines) };
    assert.deepEqual(chosen(decryptPollVote(pollUpdateMessage.vote, bound)), names);
    assert.deepEqual(counts((await instance.get(`/polls/${id}`)).body), [0, 0, 1]);
  }
});

story('a message reads with what became of it, and is found by its words', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const id = await instance.send(bob.number, 'Feijoada na quinta');
  const { key } = await bruno.messageWith(id);
  await bruno.read({ key });
  await platform.statuses(id, 4);
  await bruno.send(ines.jid, { react: { text: '😋', key } });
  await instance.event('message.reaction', ({ emoji }) => emoji === '😋');
  await instance.sends(`/messages/${id}`, { to: bob.number, message: 'Feijoada no sábado' }, 'PATCH');
  await bruno.changes.find('the edit', (change) => change.id === id);

  const { body } = await instance.get(`/messages/${id}`);
  assert.deepEqual([body.content, body.message.conversation, body.status], ['Feijoada no sábado', 'Feijoada na quinta', 'read']);
  assert.deepEqual(body.edits.map(({ content }) => content), ['Feijoada no sábado']);
  assert.deepEqual(body.reactions.map(({ phone, emoji }) => [phone, emoji]), [[bob.number, '😋']]);
  assert.deepEqual(body.recipients.map(({ lid, status }) => [lid, status]), [[lidOf(bob), 'read']]);
  const found = async (words) => (await instance.get(`/messages/search?q=${encodeURIComponent(words)}`)).body;
  assert.deepEqual((await found('sabado feij')).messages.map(({ key }) => key.id), [id]);
  assert.equal((await found('quinta')).total, 0);
  const page = (await instance.get(`/chats/${bob.number}/messages?per_page=1`)).body;
  // What was done to it is told with it, not beside it.
  assert.deepEqual([page.total, page.messages.map(({ key }) => key.id)], [1, [id]]);
});

story('what Baileys keeps to itself is not seen as read, and what the account keeps to itself is not told', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  await bruno.sock.updateReadReceiptsPrivacy('none');
  // Baileys asks for its settings once, and again when it is told to.
  await bruno.sock.fetchPrivacySettings(true);
  const first = await instance.send(bob.number, 'seen in secret');
  await bruno.read(await bruno.messageWith(first));
  const second = await instance.send(bob.number, 'and after it');
  await bruno.messageWith(second);
  assert.deepEqual(await platform.statuses(second, 3), [2, 3]);
  assert.deepEqual(await platform.statuses(first, 3), [2, 3]);

  const read = async (text) => {
    const id = await bruno.send(ines.jid, text);
    await platform.messageWith(id);
    await instance.post('/mark-read', { to: bob.number, message_ids: [id] });
    return id;
  };
  await bruno.status(await read('openly'), 4);
  await cast.sandbox.post(`${ines.path}/privacy`, { readreceipts: 'none' });
  const secret = await read('in secret');
  await cast.sandbox.post(`${ines.path}/privacy`, { readreceipts: 'all' });
  await bruno.status(await read('openly again'), 4);
  assert.deepEqual(bruno.updates.all(({ id, status }) => id === secret && status === 4), []);
});
