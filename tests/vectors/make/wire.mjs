// Makes tests/vectors/wire/*.json with Baileys' own encoder and Noise handler. See README.md for how to run it.
import { createCipheriv, createDecipheriv, createHash, createPrivateKey, createPublicKey, diffieHellman, hkdfSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { deflateSync } from 'node:zlib'
import assert from 'node:assert'

const baileys = process.argv[2]
if (!baileys) throw new Error('usage: node wire.mjs <folder of the baileys package>')
const load = path => import(pathToFileURL(join(baileys, path)))
const { encodeBinaryNode } = await load('lib/WABinary/encode.js')
const { decodeBinaryNode } = await load('lib/WABinary/decode.js')
const { SINGLE_BYTE_TOKENS, DOUBLE_BYTE_TOKENS, TOKEN_MAP } = await load('lib/WABinary/constants.js')
const { makeNoiseHandler } = await load('lib/Utils/noise-handler.js')
const { Curve } = await load('lib/Utils/crypto.js')
const { NOISE_WA_HEADER } = await load('lib/Defaults/index.js')
const { proto } = await load('WAProto/index.js')
const { version } = (await import(pathToFileURL(join(baileys, 'package.json')), { with: { type: 'json' } })).default

const out = join(dirname(fileURLToPath(import.meta.url)), '..', 'wire')
const write = (name, value) => writeFileSync(join(out, name), JSON.stringify(value, null, 1) + '\n')
const hex = bytes => Buffer.from(bytes).toString('hex')

// --- nodes -----------------------------------------------------------------------------------------------------------

// What a typed decoder must find: Baileys knows only strings and takes any with an '@' for a JID.
const packed = s => s.length > 0 && s.length <= 127 && (/^[0-9.-]+$/.test(s) || /^[0-9A-F]+$/.test(s))
const isText = s => s in TOKEN_MAP || packed(s)
const known = /@(s\.whatsapp\.net|c\.us|lid|g\.us|broadcast|newsletter|call|bot|hosted|hosted\.lid|msgr|interop)$/
const typed = s => (!isText(s) && known.test(s) ? { jid: s.replace(':0@', '@') } : { text: s })
const blob = bytes => {
  const same = bytes.length > 1024 && bytes.every(b => b === bytes[0])
  return same ? { fill: bytes[0], length: bytes.length } : { hex: hex(bytes) }
}
const expected = ({ tag, attrs = {}, content }) => ({
  tag,
  attrs: Object.entries(attrs).map(([key, value]) => [key, typed(value)]),
  content:
    content === undefined ? null
    : Array.isArray(content) ? content.map(expected)
    : typeof content !== 'string' ? blob(content)
    : isText(content) || known.test(content) ? typed(content)
    : { hex: hex(Buffer.from(content)) },
})

const vectors = []
// `same`: our encoder makes the same choices, so its bytes must be equal; otherwise `why` says what differs.
const add = (name, node, why) => {
  const bytes = encodeBinaryNode(node)
  const last = node.content
  const tail = last instanceof Uint8Array && blob(last).length
  vectors.push({
    name,
    node: expected(node),
    hex: hex(tail ? bytes.subarray(0, bytes.length - tail) : bytes),
    ...(tail ? { then: blob(last) } : {}),
    same: !why,
    ...(why ? { why } : {}),
  })
}
const x = (value, content) => ({ tag: 'x', attrs: value === undefined ? {} : { a: value }, content })
const s = '@s.whatsapp.net'

add('only a tag, a single-byte token', { tag: 'ping', attrs: {} })
add('a tag of a double-byte table', { tag: 'pair-device', attrs: {} })
add('a tag that is no token', x())
add('tag 0', { tag: '0', attrs: {} })
add('xmlstreamend', { tag: 'xmlstreamend', attrs: {} })
add('iq ping', { tag: 'iq', attrs: { to: s, id: '1.2-3', type: 'get', xmlns: 'w:p' }, content: [{ tag: 'ping', attrs: {} }] })
for (const index of [1, 3, 45, 128, 235]) add(`single token ${index}`, x(SINGLE_BYTE_TOKENS[index]))
for (const [table, tokens] of DOUBLE_BYTE_TOKENS.entries())
  for (const index of [0, 1, 128, 255]) add(`double token ${table}/${index}`, x(tokens[index]))
add('all single tokens as keys and values', {
  tag: 'iq', attrs: Object.fromEntries(SINGLE_BYTE_TOKENS.filter(t => t && !/^\d+$/.test(t)).map(t => [t, t])),
})
DOUBLE_BYTE_TOKENS.forEach((tokens, table) =>
  add(`all tokens of double table ${table} as tags`, { tag: 'list', attrs: {}, content: tokens.map(tag => ({ tag, attrs: {} })) }))
for (const [name, value] of Object.entries({
  'nibbles, even': '17000000', 'nibbles, odd': '123', 'nibbles, one': '7', 'nibbles with signs': '-1.5-2.75',
  'nibbles, only signs': '.-.', 'nibbles, 127': '1234567890.'.repeat(12).slice(0, 127),
  'digits, 128, too long to pack': '1'.repeat(128),
  'hex, even': '3EB0ABCDEF', 'hex, odd': 'ABC', 'hex of a message id': '3EB0C767D097B7C7C030',
  'hex, 127': '1A'.repeat(64).slice(0, 127), 'hex, 128, too long to pack': '1A'.repeat(64),
  'lower-case hex stays raw': '3eb0abcdef', 'empty': '', 'a blank': ' ', 'a zero byte': '\0',
  'Portuguese': 'Olá, São Paulo às três', 'Chinese': '你好，世界', 'beyond the basic plane': '👩‍👩‍👧 \u{10ffff}',
  'right to left': 'שלום', 'raw of 255 bytes': 'z'.repeat(255), 'raw of 256 bytes': 'z'.repeat(256),
  'raw of 4096 letters of two bytes': 'é'.repeat(4096),
})) add(`text: ${name}`, x(value))
for (const value of [
  s, '@g.us', '@call', '15551230001' + s, '15551230001:3' + s, '15551230001:255' + s, '0' + s,
  '100000000000001@lid', '100000000000001:1@lid', '15551230001:99@hosted', '100000000000001:99@hosted.lid',
  '120363000000000001@g.us', '15551230001-1400000000@g.us', 'status@broadcast', '1700000000@broadcast',
  '120363000000000002@newsletter', '867051314767696@bot', 'server@c.us', '16505361212@c.us',
]) add(`jid: ${value}`, x(value))
add('jid: device 0 spelt out', x('15551230001:0' + s), 'we write device 0 as a pair')
add('jid: hosted without a device', x('15551230001@hosted'), 'we always write hosted users with their device')
add('jid: a Messenger user as a pair', x('100024@msgr'), 'we write Messenger users with their device')
add('an e-mail address', x('ana@example.com'), 'we keep text as text')
add('content: an empty list', { tag: 'x', attrs: {}, content: [] })
add('content: a token', { tag: 'x', attrs: {}, content: 'true' })
add('content: packed digits', { tag: 'x', attrs: {}, content: '0' })
add('content: packed number', { tag: 'x', attrs: {}, content: '1700000000' })
add('content: raw text', { tag: 'x', attrs: {}, content: 'two words' })
add('content: a jid', { tag: 'x', attrs: {}, content: '15551230001:3' + s })
for (const length of [0, 1, 255, 256, 1024, 65535, 65536, (1 << 20) - 1, 1 << 20])
  add(`content: ${length} bytes`, { tag: 'enc', attrs: { v: '2', type: 'msg' }, content: Buffer.alloc(length, 0xa5) })
for (const count of [1, 255, 256, 300])
  add(`${count} children`, { tag: 'list', attrs: {}, content: Array.from({ length: count }, (_, i) => ({ tag: 'item', attrs: { index: String(i) } })) })
add('127 attributes and content', { tag: 'x', attrs: Object.fromEntries(Array.from({ length: 127 }, (_, i) => [`k${i}`, `v${i}`])), content: Buffer.from([1]) })
add('128 attributes', { tag: 'x', attrs: Object.fromEntries(Array.from({ length: 128 }, (_, i) => [`k${i}`, `v${i}`])) })
add('50 levels', Array.from({ length: 49 }).reduce(inner => ({ tag: 'x', attrs: {}, content: [inner] }), x('deep')))
const participants = Array.from({ length: 20 }, (_, i) => ({
  tag: 'to', attrs: { jid: `1555123${1000 + i}:${i + 1}${s}` },
  content: [{ tag: 'enc', attrs: { v: '2', type: i % 2 ? 'pkmsg' : 'msg' }, content: createHash('sha256').update(`${i}`).digest() }],
}))
const message = {
  tag: 'message', attrs: { id: '3EB0C767D097B7C7C030', to: '120363000000000001@g.us', type: 'text', addressing_mode: 'pn', t: '1700000000' },
  content: [{ tag: 'participants', attrs: {}, content: participants }, { tag: 'enc', attrs: { v: '2', type: 'skmsg' }, content: Buffer.from('secret') }],
}
add('a group message', message)
const plain = encodeBinaryNode(message)
const deflated = Buffer.concat([Buffer.from([2]), deflateSync(plain.subarray(1))])
assert.equal((await decodeBinaryNode(deflated)).attrs.id, message.attrs.id)
vectors.push({ name: 'the same, compressed', node: expected(message), hex: hex(deflated), same: false, why: 'we never compress' })
// Baileys reads these two forms and does not write them.
const byHand = [
  ['jid: Messenger with device', 'f6ff84 1000024f 0102 cc', '1000024:258@msgr', '1000024:258@msgr'],
  ['jid: interop with server', 'f5ff84 1000024f 0102 0007 fc07696e7465726f70', '7-1000024:258@interop', '7-1000024:258@interop'],
]
for (const [name, value, theirs, jid] of byHand) {
  const bytes = Buffer.from(`00f803fc0178fc0161${value}`.replaceAll(' ', ''), 'hex')
  assert.equal((await decodeBinaryNode(bytes)).attrs.a, theirs)
  vectors.push({ name, node: { tag: 'x', attrs: [['a', { jid }]], content: null }, hex: hex(bytes), same: true })
}
for (const { hex: text, then } of vectors) {
  const bytes = Buffer.concat([Buffer.from(text, 'hex'), then ? Buffer.alloc(then.length, then.fill) : Buffer.alloc(0)])
  await decodeBinaryNode(bytes)
}
// One vector a line.
const made = JSON.stringify(`with the encoder of npm baileys ${version} by tests/vectors/make/wire.mjs`)
const lines = vectors.map(vector => JSON.stringify(vector)).join(',\n')
writeFileSync(join(out, 'nodes.json'), `{"made":${made},"vectors":[\n${lines}\n]}\n`)

// --- handshake -------------------------------------------------------------------------------------------------------

// The client is Baileys' own handler. The server is written here from node:crypto alone.
const keyPair = byte => {
  const d = Buffer.alloc(32, byte)
  const key = createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), d]), format: 'der', type: 'pkcs8' })
  return { private: d, key, public: createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32) }
}
const agree = (ours, theirs) => diffieHellman({
  privateKey: ours.key,
  publicKey: createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), theirs]), format: 'der', type: 'spki' }),
})
const sha = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const nonce = n => { const iv = Buffer.alloc(12); iv.writeUInt32BE(n, 8); return iv }
const seal = (key, n, aad, plain) => {
  const c = createCipheriv('aes-256-gcm', key, nonce(n)).setAAD(aad)
  return Buffer.concat([c.update(plain), c.final(), c.getAuthTag()])
}
const open = (key, n, aad, sealed) => {
  const d = createDecipheriv('aes-256-gcm', key, nonce(n)).setAAD(aad).setAuthTag(sealed.subarray(-16))
  return Buffer.concat([d.update(sealed.subarray(0, -16)), d.final()])
}
const framed = payload => Buffer.concat([Buffer.from([payload.length >> 16, payload.length >> 8, payload.length]), payload])

const [ephemeralC, ephemeralS, staticS, staticC, root, intermediate] = [0x51, 0x62, 0x73, 0x24, 0x85, 0x96].map(keyPair)
const Details = proto.CertChain.NoiseCertificate.Details
const certificate = (issuer, fields) => {
  const details = Details.encode({ notBefore: 1700000000, notAfter: 2000000000, ...fields }).finish()
  return { details, signature: Curve.sign(issuer.private, details) }
}
const chain = Buffer.from(proto.CertChain.encode({
  intermediate: certificate(root, { serial: 1, issuerSerial: 0, key: intermediate.public }),
  leaf: certificate(intermediate, { serial: 2, issuerSerial: 1, key: staticS.public }),
}).finish())
const payload = Buffer.from('a client payload of some length')

const logger = { child: () => logger, trace() {}, debug() {}, level: 'silent' }
const noise = makeNoiseHandler({ keyPair: ephemeralC, NOISE_HEADER: NOISE_WA_HEADER, logger })
const first = noise.encodeFrame(proto.HandshakeMessage.encode({ clientHello: { ephemeral: ephemeralC.public } }).finish())

let h = Buffer.from('Noise_XX_25519_AESGCM_SHA256\0\0\0\0'), ck = h, k = h, n = 0
const mixHash = data => { h = sha(h, data) }
const mixKey = ikm => { const o = Buffer.from(hkdfSync('sha256', ikm, ck, '', 64)); ck = o.subarray(0, 32); k = o.subarray(32); n = 0 }
const sealed = plain => { const c = seal(k, n++, h, plain); mixHash(c); return c }
const opened = c => { const p = open(k, n++, h, c); mixHash(c); return p }
mixHash(Buffer.from(NOISE_WA_HEADER)); mixHash(ephemeralC.public); mixHash(ephemeralS.public)
mixKey(agree(ephemeralS, ephemeralC.public))
const sealedStatic = sealed(staticS.public)
mixKey(agree(staticS, ephemeralC.public))
const serverHello = { ephemeral: ephemeralS.public, static: sealedStatic, payload: sealed(chain) }
const hello = framed(Buffer.from(proto.HandshakeMessage.encode({ serverHello }).finish()))

const keyEnc = noise.processHandshake(proto.HandshakeMessage.decode(hello.subarray(3)), staticC)
const finish = noise.encodeFrame(proto.HandshakeMessage.encode({ clientFinish: { static: keyEnc, payload: noise.encrypt(payload) } }).finish())
await noise.finishInit()
const received = proto.HandshakeMessage.decode(finish.subarray(3)).clientFinish
assert.deepEqual(opened(received.static), staticC.public)
mixKey(agree(ephemeralS, staticC.public))
assert.deepEqual(opened(received.payload), payload)
const keys = Buffer.from(hkdfSync('sha256', '', ck, '', 64))
const [toServer, toClient] = [keys.subarray(0, 32), keys.subarray(32)]

const nodes = [message, { tag: 'iq', attrs: { id: '1.2-3', type: 'result', to: s } }, { tag: 'ib', attrs: {}, content: [] }].map(node => encodeBinaryNode(node))
const up = nodes.map(node => noise.encodeFrame(node))
up.forEach((frame, i) => assert.deepEqual(open(toServer, i, Buffer.alloc(0), frame.subarray(3)), nodes[i]))
const down = nodes.map((node, i) => framed(seal(toClient, i, Buffer.alloc(0), node)))
const heard = []
await noise.decodeFrame(Buffer.concat(down), node => heard.push(node.tag))
assert.deepEqual(heard, ['message', 'iq', 'ib'])

write('handshake.json', {
  made: `a client of npm baileys ${version} with a server of node:crypto, by tests/vectors/make/wire.mjs`,
  root: hex(root.public),
  now: 1800000000,
  client: { ephemeral: hex(ephemeralC.private), static: hex(staticC.private), payload: hex(payload) },
  server: { ephemeral: hex(ephemeralS.private), static: hex(staticS.private), chain: hex(chain) },
  first: hex(first),
  hello: hex(hello),
  finish: hex(finish),
  plaintexts: nodes.map(hex),
  client_frames: up.map(hex),
  server_frames: down.map(hex),
})
process.exit(0)
