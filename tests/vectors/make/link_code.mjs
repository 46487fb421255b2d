// Makes tests/vectors/crypto/link_code_baileys.json: every value of a linking by code, computed with the functions that
// Baileys itself uses for it, from chosen keys. See README.md for how to run it.
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const baileys = process.argv[2]
if (!baileys) throw new Error('usage: node link_code.mjs <folder of the baileys package>')
const load = path => import(pathToFileURL(join(baileys, path)))
const { aesEncryptCTR, aesDecryptCTR, aesEncryptGCM, derivePairingCodeKey, hkdf, Curve } = await load('lib/Utils/crypto.js')
const { bytesToCrockford } = await load('lib/Utils/generics.js')
const { version } = (await import(pathToFileURL(join(baileys, 'package.json')), { with: { type: 'json' } })).default
const { createPrivateKey, createPublicKey } = await import('node:crypto')

const hex = bytes => Buffer.from(bytes).toString('hex')
const fill = (length, byte) => Buffer.alloc(length, byte)
// The public half, by Node: Baileys only makes pairs at random.
const pair = byte => {
  const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), fill(32, byte)])
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
  return { private: fill(32, byte), public: key.export({ format: 'der', type: 'spki' }).subarray(-32) }
}

const companionEphemeral = pair(0x31)
const companionIdentity = pair(0x32)
const phoneEphemeral = pair(0x33)
const phoneIdentity = pair(0x34)
const code = bytesToCrockford(Buffer.from('c0ffee1234', 'hex'))
const wrap = async (key, salt, iv) => {
  const wrapped = Buffer.concat([salt, iv, aesEncryptCTR(key, await derivePairingCodeKey(code, salt), iv)])
  const back = aesDecryptCTR(wrapped.subarray(48), await derivePairingCodeKey(code, wrapped.subarray(0, 32)), wrapped.subarray(32, 48))
  if (hex(back) !== hex(key)) throw new Error('does not unwrap')
  return wrapped
}

const [random, salt, iv] = [fill(32, 0x41), fill(32, 0x42), fill(12, 0x43)]
const shared = Curve.sharedKey(companionEphemeral.private, phoneEphemeral.public)
const identities = Curve.sharedKey(companionIdentity.private, phoneIdentity.public)
const bundleKey = hkdf(shared, 32, { salt, info: 'link_code_pairing_key_bundle_encryption_key' })
const plaintext = Buffer.concat([companionIdentity.public, phoneIdentity.public, random])
const bundle = Buffer.concat([salt, iv, aesEncryptGCM(plaintext, bundleKey, iv, Buffer.alloc(0))])

const vectors = {
  source: `npm baileys ${version}`,
  codes: ['0001020304', 'ffffffffff', 'deadbeef42', 'c0ffee1234'].map(bytes => ({ bytes, code: bytesToCrockford(Buffer.from(bytes, 'hex')) })),
  code,
  companion_ephemeral_private: hex(companionEphemeral.private),
  companion_identity_private: hex(companionIdentity.private),
  phone_ephemeral_private: hex(phoneEphemeral.private),
  phone_identity_private: hex(phoneIdentity.private),
  wrapped_companion: hex(await wrap(companionEphemeral.public, fill(32, 0x51), fill(16, 0xff))),
  wrapped_phone: hex(await wrap(phoneEphemeral.public, fill(32, 0x53), fill(16, 0x54))),
  random: hex(random),
  bundle_salt: hex(salt),
  bundle_iv: hex(iv),
  bundle: hex(bundle),
  adv_secret: hex(hkdf(Buffer.concat([shared, identities, random]), 32, { info: 'adv_secret' })),
}
const target = join(dirname(fileURLToPath(import.meta.url)), '../crypto/link_code_baileys.json')
writeFileSync(target, JSON.stringify(vectors, null, 2) + '\n')
