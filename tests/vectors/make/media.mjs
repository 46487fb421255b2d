// Makes tests/vectors/media/baileys.json: blobs that Baileys' own stream encryption made, each read back by Baileys'
// own download from a server on loopback, whole and in part. See README.md for how to run it.
import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import assert from 'node:assert'

const baileys = process.argv[2]
if (!baileys) throw new Error('usage: node media.mjs <folder of the baileys package>')
const media = await import(pathToFileURL(join(baileys, 'lib/Utils/messages-media.js')))
const { proto } = await import(pathToFileURL(join(baileys, 'WAProto/index.js')))
const { version } = (await import(pathToFileURL(join(baileys, 'package.json')), { with: { type: 'json' } })).default
const hex = bytes => Buffer.from(bytes).toString('hex')
const sha256 = bytes => createHash('sha256').update(bytes).digest()

let blob
const server = createServer((request, response) => {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  if (from === undefined) return response.writeHead(200).end(blob)
  response.writeHead(206).end(blob.subarray(Number(from), to ? Number(to) + 1 : undefined))
})
await new Promise(listening => server.listen(0, '127.0.0.1', listening))
const url = `http://127.0.0.1:${server.address().port}/`
const download = async (keys, options) => {
  const chunks = []
  for await (const chunk of await media.downloadEncryptedContent(url, keys, options)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const files = []
for (const kind of ['image', 'video', 'audio', 'document']) {
  for (const size of [0, 1, 15, 16, 17, 65536, 150000]) {
    const plain = Buffer.from(Array.from({ length: size }, (_, i) => i % 251))
    const made = await media.encryptedStream(plain, kind)
    blob = readFileSync(made.encFilePath)
    rmSync(made.encFilePath)
    assert.equal(made.fileLength, size)
    const keys = await media.getMediaKeys(made.mediaKey, kind)
    assert.equal(hex(await download(keys, {})), hex(plain))
    const file = {
      kind, size, media_key: hex(made.mediaKey), blob_length: blob.length, mac: hex(made.mac),
      file_sha256: hex(made.fileSha256), file_enc_sha256: hex(made.fileEncSha256),
    }
    assert.equal(hex(sha256(blob)), file.file_enc_sha256)
    if (size < 100) file.blob = hex(blob)
    if (size > 100) {
      file.parts = []
      for (const [startByte, endByte] of [[16, 33], [1000, 1001], [32767, 65000]]) {
        const part = await download(keys, { startByte, endByte })
        assert.equal(hex(part), hex(plain.subarray(startByte, endByte)))
        file.parts.push({ start: startByte, end: endByte, sha256: hex(sha256(part)) })
      }
    }
    files.push(file)
  }
}
server.close()

const id = '3EB0C767D82B1A2E5F00'
const mediaKey = Buffer.from(Array.from({ length: 32 }, (_, i) => i))
const node = await media.encryptMediaRetryRequest({ id, remoteJid: '5511999999999@s.whatsapp.net', fromMe: true }, mediaKey, '5511888888888:3@s.whatsapp.net')
const [ciphertext, iv] = node.content[0].content.map(({ content }) => content)
assert.ok(proto.MediaRetryNotification)
const retry = { id, media_key: hex(mediaKey), ciphertext: hex(ciphertext), iv: hex(iv) }

const out = join(dirname(fileURLToPath(import.meta.url)), '..', 'media', 'baileys.json')
const origin = `npm baileys ${version}: encryptedStream, downloadEncryptedContent, encryptMediaRetryRequest. Byte i of a plaintext is i mod 251.`
writeFileSync(out, JSON.stringify({ origin, files, retry }, null, 1) + '\n')
