// Makes tests/vectors/crypto/app_state_baileys.json: patches of one collection as Baileys itself encodes them, one after
// the other, each read back by Baileys' own decoder with every MAC check on. See README.md for how to run it.
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import assert from 'node:assert'

const baileys = process.argv[2]
if (!baileys) throw new Error('usage: node app_state.mjs <folder of the baileys package>')
const load = path => import(pathToFileURL(join(baileys, path)))
const sync = await load('lib/Utils/chat-utils.js')
const { proto } = await load('WAProto/index.js')
const { version } = (await import(pathToFileURL(join(baileys, 'package.json')), { with: { type: 'json' } })).default
const hex = bytes => Buffer.from(bytes).toString('hex')

const keyData = Buffer.from(Array.from({ length: 32 }, (_, i) => 0x40 + i))
const keyId = Buffer.from('000000000001', 'hex')
const getKey = async id => (id === keyId.toString('base64') ? { keyData } : undefined)
const { SET, REMOVE } = proto.SyncdMutation.SyncdOperation
const name = 'regular_low'
const chat = n => `551190000000${n}@s.whatsapp.net`
const pin = (n, pinned, t, operation = SET) => ({
  type: name,
  index: ['pin_v1', chat(n)],
  syncAction: { timestamp: t, pinAction: { pinned } },
  apiVersion: 5,
  operation,
})
const archive = (n, archived, t) => ({
  type: name,
  index: ['archive', chat(n)],
  syncAction: { timestamp: t, archiveChatAction: { archived, messageRange: { lastMessageTimestamp: 1700000000 } } },
  apiVersion: 3,
  operation: SET,
})
// Its REMOVE comes last: after one, Baileys keeps the removed record's MAC and miscounts what follows.
const steps = [pin(1, true, 1700000000000), archive(2, true, 1700000001000), pin(1, false, 1700000002000),
  pin(3, true, 1700000003000), pin(3, true, 1700000004000, REMOVE)]

let [written, read] = [sync.newLTHashState(), sync.newLTHashState()]
const patches = []
for (const step of steps) {
  const made = await sync.encodeSyncdPatch(step, keyId.toString('base64'), written, getKey)
  written = made.state
  made.patch.version = { version: written.version }
  const bytes = proto.SyncdPatch.encode(proto.SyncdPatch.fromObject(made.patch)).finish()
  const warnings = []
  const logger = { warn: (_, text) => warnings.push(text), trace() {}, debug() {} }
  const decoded = await sync.decodePatches(name, [proto.SyncdPatch.decode(bytes)], read, getKey, {}, undefined, logger, true)
  assert.deepEqual(warnings, [])
  assert.equal(Object.keys(decoded.mutationMap).length, 1)
  read = decoded.state
  assert.equal(hex(read.hash), hex(written.hash))
  patches.push({
    operation: step.operation,
    index: JSON.stringify(step.index),
    value: hex(proto.SyncActionValue.encode(proto.SyncActionValue.fromObject(step.syncAction)).finish()),
    version: step.apiVersion,
    patch: hex(bytes),
    hash: hex(written.hash),
  })
}

const note = `baileys ${version}: encodeSyncdPatch, decodePatches; made by tests/vectors/make/app_state.mjs`
const file = join(dirname(fileURLToPath(import.meta.url)), '../crypto/app_state_baileys.json')
const vectors = { note, collection: name, key_data: hex(keyData), key_id: hex(keyId), patches }
writeFileSync(file, JSON.stringify(vectors, null, 1) + '\n')
