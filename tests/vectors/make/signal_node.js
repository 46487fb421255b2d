// Makes tests/vectors/crypto/signal_node.json: transcripts of two ends that both are npm `libsignal` 6.0.0 (the one
// Baileys 7 depends on). Every key pair it draws is recorded, so that another implementation can play either end and
// must come out with the same bytes. How to run: README.md beside this file.
'use strict';
const { createHash } = require('crypto');
const { createRequire } = require('module');
const { join } = require('path');

const root = join(process.argv[2], 'node_modules', 'libsignal');
const load = createRequire(join(root, 'index.js'));
const curve = load('./src/curve.js');
const { SessionBuilder, SessionCipher, ProtocolAddress } = load('./index.js');
console.warn = console.error = console.info = console.log = () => {};

const hex = (bytes) => Buffer.from(bytes).toString('hex');
let counter = 0;
let drawn = [];
curve.generateKeyPair = () => {
  const privKey = createHash('sha256').update(`wazap vector key ${counter++}`).digest();
  privKey[0] &= 248;
  privKey[31] = (privKey[31] & 127) | 64;
  drawn.push(hex(privKey));
  return { privKey, pubKey: curve.getPublicFromPrivateKey(privKey) };
};

// A session that turns out to be the wrong one has drawn keys, too; only those of the right one count.
const attempt = SessionCipher.prototype.doDecryptWhisperMessage;
SessionCipher.prototype.doDecryptWhisperMessage = function (...args) {
  drawn = [];
  return attempt.apply(this, args);
};

class End {
  constructor(name, registrationId) {
    this.name = name;
    this.registrationId = registrationId;
    this.identity = curve.generateKeyPair();
    this.signed = { id: 1 + registrationId, pair: curve.generateKeyPair() };
    this.signature = curve.calculateSignature(this.identity.privKey, this.signed.pair.pubKey);
    this.oneTime = new Map([[1, curve.generateKeyPair()], [16777215, curve.generateKeyPair()]]);
    this.sessions = new Map();
    this.known = this.describe();
  }
  describe() {
    return {
      registration_id: this.registrationId,
      identity: hex(this.identity.privKey),
      signed_prekey: { id: this.signed.id, private: hex(this.signed.pair.privKey), signature: hex(this.signature) },
      one_time: [...this.oneTime].map(([id, pair]) => ({ id, private: hex(pair.privKey) })),
    };
  }
  // The store that libsignal asks.
  loadSession(id) { return this.sessions.get(id); }
  storeSession(id, record) { this.sessions.set(id, record); }
  isTrustedIdentity() { return true; }
  loadPreKey(id) { return this.oneTime.get(id); }
  removePreKey(id) { this.oneTime.delete(id); }
  loadSignedPreKey() { return this.signed.pair; }
  getOurRegistrationId() { return this.registrationId; }
  getOurIdentity() { return this.identity; }
}

class Story {
  constructor(name) {
    counter = createHash('sha256').update(name).digest().readUInt32BE();
    drawn = [];
    this.name = name;
    this.ends = { alice: new End('alice', 4711), bob: new End('bob', 12) };
    this.steps = [];
    this.messages = 0;
    this.sent = [];
  }
  cipher(by) { return new SessionCipher(this.ends[by], new ProtocolAddress(by === 'alice' ? 'bob' : 'alice', 0)); }
  async initiate(by, oneTime) {
    const peer = this.ends[by === 'alice' ? 'bob' : 'alice'];
    drawn = [];
    await new SessionBuilder(this.ends[by], new ProtocolAddress(peer.name, 0)).initOutgoing({
      registrationId: peer.registrationId,
      identityKey: peer.identity.pubKey,
      signedPreKey: { keyId: peer.signed.id, publicKey: peer.signed.pair.pubKey, signature: peer.signature },
      preKey: oneTime ? { keyId: oneTime, publicKey: peer.oneTime.get(oneTime).pubKey } : undefined,
    });
    this.steps.push({ do: 'initiate', by, one_time: oneTime ?? null, drawn });
  }
  async send(by, length) {
    const plaintext = Buffer.alloc(length ?? 5 + ((this.sent.length * 37) % 90), `${this.name} ${this.sent.length} `);
    const { type, body } = await this.cipher(by).encrypt(plaintext);
    const message = { type: type === 3 ? 'pkmsg' : 'msg', body: Buffer.from(body), plaintext };
    this.steps.push({ do: 'send', by, type: message.type, plaintext: hex(plaintext), ciphertext: hex(message.body) });
    return this.sent.push(message) - 1;
  }
  async receive(by, index) {
    const { type, body, plaintext } = this.sent[index];
    drawn = [];
    let outcome;
    try {
      const cipher = this.cipher(by);
      const got = type === 'pkmsg' ? await cipher.decryptPreKeyWhisperMessage(body) : await cipher.decryptWhisperMessage(body);
      outcome = Buffer.compare(got, plaintext) === 0 ? 'read' : 'wrong';
    } catch (error) {
      outcome = 'refused';
    }
    this.steps.push({ do: 'receive', by, message: index, outcome, drawn });
    return outcome;
  }
  async must(by, ...indexes) {
    for (const index of indexes) {
      if (await this.receive(by, index) !== 'read') throw new Error(`${this.name}: message ${index} not read`);
    }
  }
  async mustRefuse(by, ...indexes) {
    for (const index of indexes) {
      if (await this.receive(by, index) !== 'refused') throw new Error(`${this.name}: message ${index} not refused`);
    }
  }
  json() { return { name: this.name, alice: this.ends.alice.known, bob: this.ends.bob.known, steps: this.steps }; }
}

// Turns, late messages on old chains, duplicates, a gap, both directions.
async function conversation(name, oneTime) {
  const s = new Story(name);
  await s.initiate('alice', oneTime);
  const first = [await s.send('alice'), await s.send('alice', 1), await s.send('alice', 16), await s.send('alice', 300)];
  await s.must('bob', first[1], first[0]);
  const reply = [await s.send('bob'), await s.send('bob'), await s.send('bob')];
  await s.must('alice', reply[2]);
  await s.mustRefuse('alice', reply[2]);
  const second = [await s.send('alice'), await s.send('alice')];
  await s.must('bob', second[1], first[3], first[2], second[0]);
  await s.mustRefuse('bob', first[2], second[1]);
  await s.must('alice', reply[0], reply[1]);
  for (let turn = 0; turn < 8; turn++) {
    const by = turn % 2 ? 'alice' : 'bob';
    const to = turn % 2 ? 'bob' : 'alice';
    const three = [await s.send(by), await s.send(by), await s.send(by)];
    await s.must(to, three[2], three[0], three[1]);
  }
  const many = [];
  for (let i = 0; i < 60; i++) many.push(await s.send('alice', 4));
  await s.must('bob', many[59], many[0], many[31]);
  return s.json();
}

// Each begins before it heard the other; messages cross.
async function simultaneous() {
  const s = new Story('both initiate at once');
  await s.initiate('alice', 1);
  await s.initiate('bob', undefined);
  const fromAlice = [await s.send('alice'), await s.send('alice')];
  const fromBob = [await s.send('bob'), await s.send('bob')];
  await s.must('bob', fromAlice[0]);
  await s.must('alice', fromBob[1]);
  const crossing = [await s.send('alice'), await s.send('bob')];
  await s.must('bob', fromAlice[1], crossing[0]);
  await s.must('alice', fromBob[0], crossing[1]);
  return s.json();
}

// Alice begins anew while messages of the first session are still under way.
async function again() {
  const s = new Story('initiated again');
  await s.initiate('alice', 16777215);
  const old = [await s.send('alice'), await s.send('alice'), await s.send('alice')];
  await s.must('bob', old[0]);
  await s.must('alice', await s.send('bob'));
  const late = [await s.send('alice'), await s.send('alice')];
  await s.initiate('alice', 1);
  const fresh = [await s.send('alice'), await s.send('alice')];
  await s.must('bob', fresh[0]);
  await s.must('alice', await s.send('bob'));
  await s.must('bob', await s.send('alice'));
  await s.must('bob', fresh[1], late[1], old[2], late[0]);
  return s.json();
}

(async () => {
  const stories = [
    await conversation('with a one-time prekey', 1),
    await conversation('without a one-time prekey', undefined),
    await simultaneous(),
    await again(),
  ];
  const origin = 'npm libsignal 6.0.0 on both ends, driven by tests/vectors/make/signal_node.js; all keys are made up';
  process.stdout.write(JSON.stringify({ origin, stories }, null, 1) + '\n');
})();
