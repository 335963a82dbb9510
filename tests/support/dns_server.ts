/** A name server on loopback with responses set by the test. */

import { createSocket, type RemoteInfo } from "node:dgram";

/** A record of a response. */
export type DnsRecord =
  | { type: "A" | "AAAA"; address: string }
  | { type: "SRV"; priority: number; weight: number; port: number; target: string };

const TYPES = { A: 1, AAAA: 28, SRV: 33 } as const;

/** Responds to every query for a name with its records of that type, over UDP (RFC 1035). */
export class DnsServer implements AsyncDisposable {
  // From `node:`, since datagrams of the runtime need a flag.
  readonly #socket = createSocket("udp4");
  /** Records by name without the dot at the end; other names do not exist. */
  readonly records = new Map<string, readonly DnsRecord[]>();
  /** Whether queries get no response. */
  silent = false;
  /** Names that were queried. */
  readonly asked: string[] = [];

  /** Starts a server on a free port. */
  static async start(): Promise<DnsServer> {
    const server = new DnsServer();
    const { promise: bound, resolve } = Promise.withResolvers<void>();
    server.#socket.on("message", (question, sender) => server.#reply(question, sender));
    server.#socket.bind(0, "127.0.0.1", resolve);
    await bound;
    return server;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  #reply(question: Uint8Array, sender: RemoteInfo): void {
    const name = readName(question, 12);
    this.asked.push(name.text);
    if (!this.silent) this.#socket.send(this.#answer(question, name), sender.port, sender.address);
  }

  #answer(question: Uint8Array, { text, end }: { text: string; end: number }): Uint8Array {
    const view = new DataView(question.buffer, question.byteOffset);
    const type = view.getUint16(end);
    const known = this.records.get(text);
    const answers = (known ?? []).filter((record) => TYPES[record.type] === type);
    // Response, recursion available; name error if the name is unknown.
    const flags = [0x81, known === undefined ? 0x83 : 0x80];
    const head = [...question.subarray(0, 2), ...flags, 0, 1, ...short(answers.length), 0, 0, 0, 0];
    const asked = question.subarray(12, end + 4);
    return Uint8Array.from([...head, ...asked, ...answers.flatMap((record) => encode(record))]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    this.#socket.close(resolve);
    await closed;
  }
}

function readName(bytes: Uint8Array, start: number): { text: string; end: number } {
  const labels: string[] = [];
  let at = start;
  for (let length = bytes[at]!; length > 0; length = bytes[at]!) {
    labels.push(new TextDecoder().decode(bytes.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return { text: labels.join(".").toLowerCase(), end: at + 1 };
}

function encode(record: DnsRecord): number[] {
  const data = content(record);
  // The name is a pointer to that of the query; class IN, time to live 0.
  return [0xc0, 12, ...short(TYPES[record.type]), 0, 1, 0, 0, 0, 0, ...short(data.length), ...data];
}

function content(record: DnsRecord): number[] {
  if (record.type === "A") return record.address.split(".").map(Number);
  if (record.type === "SRV") {
    return [
      ...short(record.priority),
      ...short(record.weight),
      ...short(record.port),
      ...name(record.target),
    ];
  }
  const [before = "", after = ""] = record.address.split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
  const [front, back] = [groups(before), groups(after)];
  const all = [...front, ...new Array(8 - front.length - back.length).fill(0), ...back];
  return all.flatMap(short);
}

function name(text: string): number[] {
  const labels = text.split(".").flatMap((label) => [label.length, ...new TextEncoder().encode(label)]);
  return [...labels, 0];
}

function short(value: number): number[] {
  return [value >> 8, value & 0xff];
}
