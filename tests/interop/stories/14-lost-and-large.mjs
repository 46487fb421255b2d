// What one side cannot read at first arrives in the end; albums, and files as large as they may be.

import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { CUT } from '../lib/baileys.mjs';
import { mp4, opus, png, webp } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

const MIB = 1 << 20;

async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(['--media-allow-private']), await cast.companion(bob, 'bruno')];
  await instance.pair(ines);
  const { platform } = instance;
  await bruno.messageWith(await instance.send(bob.number, 'hello'));
  await platform.messageWith(await bruno.send(ines.jid, 'hello yourself'));
  return { ines, bob, instance, bruno, platform };
}

story('Baileys lost its sessions: what the instance sends it arrives in the end', async (cast) => {
  cast.expected.push(...CUT);
  const { bob, instance, bruno } = await two(cast);
  await bruno.stop();
  const folder = cast.folder('bruno');
  for (const file of await readdir(folder)) if (file.startsWith('session-')) await rm(join(folder, file));
  await bruno.start();
  const id = await instance.send(bob.number, 'can you read this?');
  assert.equal((await bruno.messageWith(id)).text, 'can you read this?');
  const next = await instance.send(bob.number, 'and this?');
  assert.equal((await bruno.messageWith(next)).text, 'and this?');
});

for (const [fault, reason] of [['corrupt', 'bad_mac'], ['withhold', 'unavailable']]) {
  story(`what the instance cannot read of Baileys (${reason}) is seen as such, and arrives in the end`, async (cast) => {
    const { ines, instance, bruno, platform } = await two(cast);
    await cast.sandbox.faults({ [fault]: { times: 1, device: instance.jid } });
    const id = await bruno.send(ines.jid, 'despite everything');
    const unread = await instance.event('message.undecryptable', ({ whatsapp_message_id }) => whatsapp_message_id === id);
    assert.equal(unread.reason, reason);
    const post = await platform.messageWith(id);
    assert.deepEqual([textOf(post), post.pushName], ['despite everything', 'Bob']);
    await platform.messageWith(await bruno.send(ines.jid, 'and on it goes'));
    assert.equal(platform.incoming('despite everything').length, 1);
  });
}

story('Baileys asks its phone for what it did not get, and the phone has it', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  await cast.sandbox.faults({ withhold: { times: 1, device: bruno.jid } });
  const id = await instance.send(bob.number, 'by way of the phone');
  assert.equal((await bruno.messageWith(id)).text, 'by way of the phone');
});

story('an album of ten images arrives as one, each byte for byte', async (cast) => {
  const { ines, instance, bruno, platform } = await two(cast);
  const album = await bruno.send(ines.jid, { album: { expectedImageCount: 10, expectedVideoCount: 0 } });
  const { message } = await platform.messageWith(album);
  assert.equal(message.albumMessage.expectedImageCount, 10);
  const key = { remoteJid: ines.jid, fromMe: true, id: album };
  const pictures = Array.from({ length: 10 }, (_, n) => png({ side: 8 + n, colour: [n * 20, 10, 200 - n * 20] }));
  for (const picture of pictures) {
    const id = await bruno.send(ines.jid, { image: picture, jpegThumbnail: null, albumParentKey: key });
    const post = await platform.messageWith(id);
    assert.deepEqual(post.album, { id: album });
    assert.ok((await instance.file(id)).bytes.equals(picture));
  }
});

const SENT = {
  'music that is no voice note': [{ media_type: 'audio', ptt: false }, opus(), ({ audioMessage }) => !audioMessage.ptt],
  'a gif': [{ media_type: 'video', gif: true }, mp4(), ({ videoMessage }) => videoMessage.gifPlayback],
  'a round video': [{ media_type: 'video', ptv: true }, mp4(), ({ ptvMessage }) => ptvMessage.seconds === 2],
  'a document without a caption': [{ media_type: 'document', filename: 'a.bin' }, Buffer.from([1, 2, 3]), ({ documentMessage }) => documentMessage.fileName === 'a.bin'],
  'a video to be viewed once': [{ media_type: 'video', view_once: true }, mp4(), ({ viewOnceMessageV2 }) => viewOnceMessageV2.message.videoMessage.viewOnce],
};

story('the rarer kinds of files reach Baileys', async (cast, t) => {
  const { bob, instance, bruno } = await two(cast);
  for (const [what, [body, bytes, looks]] of Object.entries(SENT)) {
    t.diagnostic(what);
    const media_base64 = bytes.toString('base64');
    const received = await bruno.contentWith(await instance.sends('/send-media', { recipient: bob.number, media_base64, ...body }));
    assert.ok(looks(received.message), what);
    assert.ok((await bruno.download(received)).equals(bytes), what);
  }
});

const RECEIVED = {
  'a gif': [{ video: mp4(), gifPlayback: true, jpegThumbnail: null }, mp4(), 'video', ({ videoMessage }) => videoMessage.gifPlayback],
  'a round video': [{ video: mp4(), ptv: true, jpegThumbnail: null }, mp4(), 'video', ({ ptvMessage }) => ptvMessage],
  'a sticker': [{ sticker: webp() }, webp(), 'sticker', ({ stickerMessage }) => stickerMessage],
  'an image to be viewed once': [{ image: png(), viewOnce: true, jpegThumbnail: null }, png(), 'image', ({ imageMessage }) => imageMessage.viewOnce],
  'music that is no voice note': [{ audio: opus(), mimetype: 'audio/ogg; codecs=opus', ptt: false }, opus(), 'audio', ({ audioMessage }) => !audioMessage.ptt],
};

story('the rarer kinds of files come from Baileys', async (cast, t) => {
  const { ines, instance, bruno, platform } = await two(cast);
  for (const [what, [content, bytes, type, looks]] of Object.entries(RECEIVED)) {
    t.diagnostic(what);
    const id = await bruno.send(ines.jid, content);
    const post = await platform.messageWith(id);
    assert.ok(looks(post.message), what);
    assert.equal(post.media.type, type, what);
    assert.ok((await instance.file(id)).bytes.equals(bytes), what);
  }
});

story('a video of 64 MiB goes both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const head = mp4();
  // A box of free space at the end, which players skip.
  const free = Buffer.alloc(64 * MIB - head.length, 9);
  free.writeUInt32BE(free.length);
  free.write('free', 4);
  const film = Buffer.concat([head, free]);
  const shelf = await cast.shelf({ '/film.mp4': { type: 'video/mp4', bytes: film } });
  const id = await instance.sends('/send-media', { recipient: bob.number, media_type: 'video', media_url: `${shelf.url}/film.mp4` });
  assert.ok((await bruno.download(await bruno.contentWith(id))).equals(film));

  const theirs = await bruno.send(ines.jid, { video: film, mimetype: 'video/mp4', jpegThumbnail: null });
  assert.equal((await platform.messageWith(theirs)).media.size, film.length);
  assert.ok((await instance.file(theirs)).bytes.equals(film));
});
