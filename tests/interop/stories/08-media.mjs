// Files between an instance and an unmodified Baileys: each byte arrives, whichever way it went in.

import assert from 'node:assert/strict';

import { mp4, opus, pdf, png, webp } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

const MIB = 1 << 20;
/** What the local web server has may be fetched only so. */
const PRIVATE = ['--media-allow-private'];

async function two(cast, more = PRIVATE) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(more), await cast.companion(bob)];
  await instance.pair(ines);
  return { ines, bob, instance, bruno, platform: instance.platform };
}

/** What Baileys got: the message as WhatsApp knows it, and the file. */
async function got(bruno, id) {
  const received = await bruno.contentWith(id);
  return { message: received.message, bytes: await bruno.download(received) };
}

function formOf(fields, bytes, type, name) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) form.set(field, value);
  form.set('file', new Blob([bytes], { type }), name);
  return form;
}

/** Each kind of message with a file: the file, what the request says beside it, and what Baileys must see. */
const KINDS = {
  'an image with a caption': {
    file: { type: 'image/png', bytes: png({ side: 40 }) },
    body: { media_type: 'image', caption: 'Olá 🌊' },
    look: ({ imageMessage }) => {
      const { mimetype, caption, width, height, jpegThumbnail } = imageMessage;
      assert.deepEqual({ mimetype, caption, width, height }, { mimetype: 'image/png', caption: 'Olá 🌊', width: 40, height: 40 });
      assert.deepEqual([...jpegThumbnail.subarray(0, 3)], [0xff, 0xd8, 0xff]);
    },
  },
  'a video with a caption': {
    file: { type: 'video/mp4', bytes: mp4() },
    body: { media_type: 'video', caption: 'moving' },
    look: ({ videoMessage }) => {
      const { mimetype, caption, seconds, width, height } = videoMessage;
      const expected = { mimetype: 'video/mp4', caption: 'moving', seconds: 2, width: 64, height: 48 };
      assert.deepEqual({ mimetype, caption, seconds, width, height }, expected);
    },
  },
  'a voice note': {
    file: { type: 'audio/ogg', bytes: opus() },
    body: { media_type: 'audio' },
    look: ({ audioMessage }) => {
      const { mimetype, ptt, seconds, waveform } = audioMessage;
      assert.deepEqual({ mimetype, ptt }, { mimetype: 'audio/ogg; codecs=opus', ptt: true });
      assert.ok(seconds > 0);
      assert.equal(waveform.length, 64);
      assert.ok(new Set(waveform).size > 8, 'speech is not flat');
    },
  },
  'a document with a caption': {
    file: { type: 'application/pdf', bytes: pdf() },
    body: { media_type: 'document', caption: 'please sign', filename: 'Contrato nº 7.pdf' },
    look: ({ documentWithCaptionMessage }) => {
      const { mimetype, caption, fileName } = documentWithCaptionMessage.message.documentMessage;
      const expected = { mimetype: 'application/pdf', caption: 'please sign', fileName: 'Contrato nº 7.pdf' };
      assert.deepEqual({ mimetype, caption, fileName }, expected);
    },
  },
  'a sticker': {
    file: { type: 'image/webp', bytes: webp() },
    body: { media_type: 'sticker' },
    look: ({ stickerMessage }) => {
      const { mimetype, width, height, isAnimated } = stickerMessage;
      assert.deepEqual({ mimetype, width, height, isAnimated }, { mimetype: 'image/webp', width: 1, height: 1, isAnimated: false });
    },
  },
  'an image to be viewed once': {
    file: { type: 'image/png', bytes: png({ colour: [1, 2, 3] }) },
    body: { media_type: 'image', view_once: true },
    look: ({ viewOnceMessageV2 }) => assert.equal(viewOnceMessageV2.message.imageMessage.viewOnce, true),
  },
};

story('Baileys gets every kind of file by its address, byte for byte', async (cast, t) => {
  const { bob, instance, bruno } = await two(cast);
  const shelf = await cast.shelf(Object.fromEntries(Object.values(KINDS).map(({ file }, n) => [`/files/${n}`, file])));
  for (const [n, [what, { file, body, look }]] of Object.entries(KINDS).entries()) {
    t.diagnostic(what);
    const id = await instance.sends('/send-media', { recipient: bob.number, media_url: `${shelf.url}/files/${n}`, ...body });
    const { message, bytes } = await got(bruno, id);
    look(message);
    assert.deepEqual(bytes, file.bytes, what);
    // Its own files it hands out, too.
    assert.deepEqual((await instance.file(id)).bytes, file.bytes, `${what}, from the instance`);
  }
});

story('a file may come with the request, as a part of a form or in base64', async (cast) => {
  const { bob, instance, bruno, platform } = await two(cast, []);
  const fields = { recipient: bob.number, media_type: 'document', caption: 'by form' };
  const form = formOf(fields, pdf(), 'application/pdf', 'relatório.pdf');
  const byForm = await got(bruno, await instance.sends('/send-media', form));
  const { documentMessage } = byForm.message.documentWithCaptionMessage.message;
  assert.deepEqual([documentMessage.fileName, documentMessage.caption], ['relatório.pdf', 'by form']);
  assert.deepEqual(byForm.bytes, pdf());

  const media_base64 = `data:audio/ogg;base64,${opus().toString('base64')}`;
  const id = await instance.sends('/send-media', { recipient: bob.number, media_type: 'audio', ptt: false, media_base64 });
  const byText = await got(bruno, id);
  assert.equal(byText.message.audioMessage.ptt ?? false, false);
  assert.deepEqual(byText.bytes, opus());

  // The platform hears of own files as it does of others.
  const post = await platform.messageWith(id);
  assert.equal(post.key.fromMe, true);
  assert.deepEqual([post.media.id, post.media.type, post.media.size], [id, 'audio', opus().length]);
});

const SENT = {
  image: {
    bytes: png({ side: 33 }),
    content: { caption: 'look', jpegThumbnail: null },
    media: { type: 'image', mime_type: 'image/jpeg', filename: null },
    text: ({ imageMessage }) => imageMessage.caption,
  },
  audio: {
    bytes: opus(),
    content: { ptt: true, seconds: 3, waveform: new Uint8Array(64), mimetype: 'audio/ogg; codecs=opus' },
    media: { type: 'audio', mime_type: 'audio/ogg; codecs=opus', filename: null },
  },
  document: {
    bytes: Buffer.concat([pdf(), Buffer.alloc(100_000, 'fill')]),
    content: { mimetype: 'application/pdf', fileName: 'nota fiscal.pdf', caption: 'look' },
    media: { type: 'document', mime_type: 'application/pdf', filename: 'nota fiscal.pdf' },
    text: ({ documentMessage }) => documentMessage.caption,
  },
  video: {
    bytes: mp4(),
    content: { caption: 'look', jpegThumbnail: null, mimetype: 'video/mp4' },
    media: { type: 'video', mime_type: 'video/mp4', filename: null },
    text: ({ videoMessage }) => videoMessage.caption,
  },
};

for (const [kind, { bytes, content, media, text }] of Object.entries(SENT)) {
  story(`Baileys sends ${kind}: the webhook says so, and the instance hands out the same bytes`, async (cast) => {
    const { ines, instance, bruno, platform } = await two(cast);
    const id = await bruno.send(ines.jid, { [kind]: bytes, ...content });
    const post = await platform.messageWith(id);
    const url = `${instance.url}/messages/${id}/media`;
    assert.deepEqual(post.media, { id, size: bytes.length, url, ...media });
    const message = post.message[`${kind}Message`];
    assert.equal(message.fileLength, bytes.length);
    for (const [name, length] of [['mediaKey', 32], ['fileSha256', 32], ['fileEncSha256', 32]]) {
      assert.equal(Buffer.from(message[name], 'base64').length, length, name);
    }
    if (text) assert.equal(text(post.message), 'look');
    const event = await instance.event('message.received', ({ whatsapp_message_id }) => whatsapp_message_id === id);
    assert.deepEqual([event.media_type, event.content], [kind, text ? 'look' : null]);

    const whole = await instance.file(id);
    assert.equal(whole.status, 200);
    assert.equal(whole.headers.get('content-type'), media.mime_type);
    assert.equal(Number(whole.headers.get('content-length')), bytes.length);
    assert.deepEqual(whole.bytes, bytes);
    for (const [range, from, to] of ranges(bytes.length)) {
      const part = await instance.file(id, { range });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers.get('content-range'), `bytes ${from}-${to - 1}/${bytes.length}`);
      assert.deepEqual(part.bytes, bytes.subarray(from, to), range);
    }
    const behind = await instance.file(id, { range: `bytes=${bytes.length}-` });
    assert.deepEqual([behind.status, behind.headers.get('content-range')], [416, `bytes */${bytes.length}`]);
    assert.equal((await instance.file('3EB000')).status, 404);
  });
}

/** Across blocks of the cipher, at their edges, and at the end. */
const ranges = (length) => [
  ['bytes=0-0', 0, 1],
  ['bytes=5-40', 5, 41],
  ['bytes=16-31', 16, 32],
  ['bytes=17-', 17, length],
  ['bytes=-10', length - 10, length],
  [`bytes=${length - 1}-${length + 99}`, length - 1, length],
];

story('an image of 16 MiB passes, and one of a byte more does not', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  const [most, more] = [png({ size: 16 * MIB }), png({ size: 16 * MIB + 1 })];
  const shelf = await cast.shelf({ '/most': { type: 'image/png', bytes: most }, '/more': { type: 'image/png', bytes: more } });
  const body = (name) => ({ recipient: bob.number, media_type: 'image', media_url: shelf.url + name });
  const id = await instance.sends('/send-media', body('/most'));
  // Not by a deep comparison, whose account of a difference would be endless.
  assert.ok((await got(bruno, id)).bytes.equals(most));

  const refused = await instance.post('/send-media', body('/more'));
  assert.deepEqual([refused.status, refused.body.error.code], [422, 'MEDIA_TOO_LARGE']);
  assert.deepEqual(refused.body.error.details, { size: more.length, limit: most.length });

  // The same as a part of a form.
  const fields = { recipient: bob.number, media_type: 'image' };
  const again = await instance.sends('/send-media', formOf(fields, most, 'image/png', 'most.png'));
  assert.ok((await got(bruno, again)).bytes.equals(most));
  const tooLarge = instance.sends('/send-media', formOf(fields, more, 'image/png', 'more.png'));
  await assert.rejects(tooLarge, /422 .*"MEDIA_TOO_LARGE".*"size":16777217/);
  await nothingElse(bruno, bob, instance, [id, again]);
});

story('what is of another format, or not there, is refused, and nothing is sent', async (cast) => {
  const { bob, instance, bruno } = await two(cast);
  const shelf = await cast.shelf({ '/picture.png': { type: 'image/png', bytes: pdf() } });
  const send = (media_type, path) => instance.post('/send-media', { recipient: bob.number, media_type, media_url: shelf.url + path });
  for (const media_type of ['image', 'video', 'audio']) {
    const { status, body } = await send(media_type, '/picture.png');
    assert.deepEqual([status, body.error.code], [422, 'UNSUPPORTED_MEDIA_FORMAT']);
    assert.deepEqual(body.error.details, { media_type, detected: 'application/pdf' });
  }
  const { status, body } = await send('image', '/nowhere.png');
  assert.deepEqual([status, body.error.code], [422, 'MEDIA_DOWNLOAD_FAILED']);
  assert.deepEqual(body.error.details, { media_url: `${shelf.url}/nowhere.png`, reason: 'http_404' });
  await nothingElse(bruno, bob, instance, []);
});

story('an address of a private network is refused unless it is allowed', async (cast) => {
  const { bob, instance, bruno } = await two(cast, []);
  const shelf = await cast.shelf({ '/picture.png': { type: 'image/png', bytes: png() } });
  const port = new URL(shelf.url).port;
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433', '169.254.169.254']) {
    const media_url = `http://${host}:${port}/picture.png`;
    const { status, body } = await instance.post('/send-media', { recipient: bob.number, media_type: 'image', media_url });
    assert.deepEqual([status, body.error?.code], [422, 'MEDIA_DOWNLOAD_FAILED'], host);
    assert.deepEqual(body.error.details, { media_url, reason: 'blocked_address' });
  }
  await nothingElse(bruno, bob, instance, []);
});

/** Baileys got these messages of the instance, and then a last one. */
async function nothingElse(bruno, bob, instance, ids) {
  const last = await instance.send(bob.number, 'the end');
  assert.equal((await bruno.messageWith(last)).text, 'the end');
  const received = bruno.messages.all(({ fromMe, message }) => !fromMe && message).map(({ id }) => id);
  assert.deepEqual(received, [...ids, last]);
  assert.deepEqual(instance.platform.incoming().map((post) => textOf(post) ?? post.key.id), [...ids, 'the end']);
}
