// Makes tests/vectors/messages/baileys.json: a sample of every kind of message in Baileys' schema, filled member by
// member, and what Baileys itself says for the kinds that can be sent. See README.md for how to run it.
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const baileys = process.argv[2]
if (!baileys) throw new Error('usage: node messages.mjs <folder of the baileys package>')
const protobuf = createRequire(join(baileys, 'package.json'))('protobufjs')
const { generateWAMessageContent, proto } = await import(pathToFileURL(join(baileys, 'lib/index.js')))
const { version } = (await import(pathToFileURL(join(baileys, 'package.json')), { with: { type: 'json' } })).default

const root = protobuf.loadSync(join(baileys, 'WAProto/WAProto.proto'))
const Message = root.lookupType('proto.Message')
const asJson = { longs: Number, enums: Number, bytes: String, defaults: false }

/** Members of a kind, and of what is in it, down to so many levels; numbers that differ, so that none can be mistaken. */
function sample(type, depth) {
  const message = {}
  for (const field of type.fieldsArray) {
    field.resolve()
    const value = valueOf(field, depth)
    if (value === undefined) continue
    if (field.partOf) {
      // One member of several that exclude each other.
      if (field.partOf.fieldsArray.some(other => message[other.name] !== undefined)) continue
    }
    message[field.name] = field.repeated ? [value] : value
  }
  return message
}

function valueOf(field, depth) {
  const { resolvedType } = field
  if (resolvedType instanceof protobuf.Enum) return Math.max(...Object.values(resolvedType.values))
  if (resolvedType) {
    // A message in a message: a text, or nothing can be told of the wrapper.
    if (resolvedType === Message) return { conversation: `inside ${field.name}` }
    return depth > 0 ? sample(resolvedType, depth - 1) : undefined
  }
  switch (field.type) {
    case 'string': return `${field.name} ✓`
    case 'bytes': return Buffer.from(field.name)
    case 'bool': return true
    case 'double': case 'float': return field.id + 0.5
    default: return 1000 + field.id
  }
}

const kinds = Message.fieldsArray
  .sort((a, b) => a.id - b.id)
  .map(field => {
    field.resolve()
    const content = Message.fromObject({ [field.name]: valueOf(field, 2) })
    const bytes = Message.encode(content).finish()
    return { member: field.name, number: field.id, hex: Buffer.from(bytes).toString('hex'), json: Message.toObject(Message.decode(bytes), asJson) }
  })

const chat = '5511987654321@s.whatsapp.net'
const key = { remoteJid: chat, fromMe: true, id: '3EB0AA' }
const vcard = 'BEGIN:VCARD\nVERSION:3.0\nFN:Zé\nTEL;type=CELL;waid=5511988880003:+5511988880003\nEND:VCARD'
const card = { displayName: 'Zé', vcard }
const sent = {
  place: { location: { degreesLatitude: -23.5, degreesLongitude: -46.5, name: 'Sé', address: 'São Paulo' } },
  contact: { contacts: { displayName: 'Zé', contacts: [card] } },
  contacts: { contacts: { displayName: '2 contacts', contacts: [card, card] } },
  poll_single: { poll: { name: 'Pizza?', values: ['sim', 'não'], selectableCount: 1 } },
  poll_multiple: { poll: { name: 'Pizza?', values: ['sim', 'não'], selectableCount: 0 } },
  reaction: { react: { text: '👍', key } },
  revoke: { delete: key },
  edit: { text: 'after', edit: key },
  pin: { pin: key, type: 1, time: 604800 },
}
const said = {}
for (const [name, content] of Object.entries(sent)) {
  const message = await generateWAMessageContent(content, { logger: undefined, userJid: chat })
  said[name] = JSON.parse(JSON.stringify(proto.Message.toObject(proto.Message.fromObject(message), asJson)))
}

const origin = `npm baileys ${version}: WAProto.proto filled by messages.mjs; generateWAMessageContent`
const file = join(dirname(fileURLToPath(import.meta.url)), '../messages/baileys.json')
writeFileSync(file, JSON.stringify({ origin, kinds, said }) + '\n')
