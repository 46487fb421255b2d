// Makes tests/vectors/crypto/sender_key_baileys.json: what a device of npm `baileys` 7.0.0-rc14 writes to a group and
// what another reads of it, in good and in bad order. How to run: README.md beside this file.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const lib = join(process.argv[2], 'lib', 'Signal', 'Group');
const load = (file) => import(pathToFileURL(join(lib, file)));
const { GroupCipher } = await load('group_cipher.js');
const { GroupSessionBuilder } = await load('group-session-builder.js');
const { SenderKeyRecord } = await load('sender-key-record.js');
const { SenderKeyDistributionMessage } = await load('sender-key-distribution-message.js');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const plaintext = (n, length) => Buffer.alloc(length, `wazap ${n} `);

class End {
  record = new SenderKeyRecord();
  loadSenderKey = async () => this.record;
  storeSenderKey = async (_, record) => { this.record = record; };
  builder = new GroupSessionBuilder(this);
  cipher = new GroupCipher(this, 'name');
  // Baileys keeps one cipher a name in a store that it writes after each step.
  async distribution() { return Buffer.from((await this.builder.create('name')).serialize()); }
  async take(bytes) { await this.builder.process('name', new SenderKeyDistributionMessage(null, null, null, null, bytes)); }
}

async function story(name, plan) {
  const [sender, receiver] = [new End(), new End()];
  const first = await sender.distribution();
  const { senderKeyId, senderChainKey, senderSigningKey } = sender.record.getSenderKeyState().getStructure();
  const key = { id: senderKeyId, chain: hex(senderChainKey.seed), signing: hex(senderSigningKey.private) };
  const steps = [{ do: 'distribute', bytes: hex(first) }];
  await receiver.take(first);
  const sent = [];
  const send = async (length = 1 + ((sent.length * 23) % 70)) => {
    const text = plaintext(sent.length, length);
    const bytes = Buffer.from(await sender.cipher.encrypt(text));
    steps.push({ do: 'send', plaintext: hex(text), bytes: hex(bytes) });
    return sent.push({ text, bytes }) - 1;
  };
  const receive = async (index) => {
    let outcome = 'refused';
    try {
      const got = await receiver.cipher.decrypt(sent[index].bytes);
      outcome = Buffer.compare(Buffer.from(got), sent[index].text) === 0 ? 'read' : 'wrong';
    } catch { /* as recorded */ }
    steps.push({ do: 'receive', message: index, outcome });
  };
  const distribute = async () => {
    const bytes = await sender.distribution();
    steps.push({ do: 'distribute', bytes: hex(bytes) });
  };
  await plan({ send, receive, distribute });
  return { name, key, steps };
}

const stories = [
  await story('in order', async ({ send, receive }) => {
    for (let n = 0; n < 12; n++) await receive(await send());
  }),
  await story('late, lost and twice', async ({ send, receive }) => {
    const ids = [];
    for (let n = 0; n < 20; n++) ids.push(await send());
    for (const n of [3, 0, 3, 19, 7, 7, 18, 1, 0, 12]) await receive(ids[n]);
  }),
  await story('a newcomer is told later', async ({ send, receive, distribute }) => {
    await receive(await send());
    await send();
    await distribute();
    await receive(await send(1));
    await receive(await send(16));
    await receive(await send(300));
  }),
];
const origin = 'npm baileys 7.0.0-rc14 on both ends, driven by tests/vectors/make/sender_key_baileys.mjs; all keys are made up';
process.stdout.write(JSON.stringify({ origin, stories }, null, 1) + '\n');
