/** An HTTP/2 server without TLS, with frames set by the test (RFC 9113). */

import { CODE, FLAG, FRAME, SETTING } from "../../lib/http2/frame_type.ts";
import { decodeLatin1 } from "../../lib/http/field_lines.ts";
import { HpackDecoder } from "../../lib/http2/hpack_decoder.ts";
import { frame } from "./http2_pair.ts";
import { latin1Bytes, latin1Text, type RawConnection } from "./raw_connection.ts";
import { type RawUpstream, rawUpstream } from "./raw_upstream.ts";

/** A received frame. */
export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

/** A field block of literals without indexing; values of less than 127 bytes. */
export function block(fields: readonly (readonly [string, string])[]): Uint8Array {
  return latin1Bytes(fields.map(([name, value]) => `\0${sized(name)}${sized(value)}`).join(""));
}

function sized(text: string): string {
  return String.fromCharCode(text.length) + text;
}

/** A number in four bytes. */
export function uint32(value: number): number[] {
  return [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** One connection of a client. */
export class RawHttp2 {
  readonly connection: RawConnection;
  /** Received frames that were not requested yet. */
  readonly others: RawFrame[] = [];
  readonly #decoder = new HpackDecoder();

  constructor(connection: RawConnection) {
    this.connection = connection;
  }

  /** Reads the preface and sends settings: setting, value, setting, value, ... */
  async begin(settings: readonly number[] = []): Promise<void> {
    const pairs: number[] = [];
    for (let i = 0; i < settings.length; i += 2) pairs.push(0, settings[i]!, ...uint32(settings[i + 1]!));
    await this.connection.readExactly(24);
    await this.write(FRAME.SETTINGS, 0, 0, pairs);
  }

  /** Writes a frame. */
  async write(type: number, flags: number, id: number, payload: Iterable<number> = []): Promise<void> {
    await this.connection.write(frame(type, flags, id, payload));
  }

  /** The next frame of any type. */
  async read(): Promise<RawFrame> {
    const head = await this.connection.readExactly(9);
    const view = new DataView(head.buffer);
    const payload = await this.connection.readExactly(view.getUint32(0) >>> 8);
    return { type: head[3]!, flags: head[4]!, id: view.getUint32(5), payload };
  }

  /** The next frame of this type; frames before it are stored in {@linkcode others}. */
  async until(type: number): Promise<RawFrame> {
    for (;;) {
      const found = await this.read();
      if (found.type === type) return found;
      this.others.push(found);
    }
  }

  /** The fields of a field block; call it for all received blocks, in order. */
  fieldsOf({ payload }: RawFrame): [string, string][] {
    const fields: [string, string][] = [];
    this.#decoder.decode(payload, 0, payload.length, {
      field(bytes, from, nameEnd, end) {
        fields.push([decodeLatin1(bytes, from, nameEnd), decodeLatin1(bytes, nameEnd, end)]);
      },
    });
    return fields;
  }

  /** The stream of the next request. */
  async request(): Promise<number> {
    return (await this.until(FRAME.HEADERS)).id;
  }

  /** Writes a response of status 200 with this content. */
  async respond(id: number, content: string): Promise<void> {
    // 0x88 is `:status: 200` of the static table (RFC 7541 appendix A).
    const head = frame(FRAME.HEADERS, FLAG.END_HEADERS, id, [0x88]);
    const data = frame(FRAME.DATA, FLAG.END_STREAM, id, latin1Bytes(content));
    await this.connection.write(Uint8Array.of(...head, ...data));
  }

  /** Responds to every request with the number of the connection and of the stream, until the client disconnects. */
  async serve(name: string): Promise<void> {
    for (;;) {
      const next = await this.read().catch(() => null);
      if (next === null) return;
      if (next.type === FRAME.PING && next.flags === 0) {
        await this.write(FRAME.PING, FLAG.ACK, 0, next.payload);
      }
      if (next.type === FRAME.HEADERS) await this.respond(next.id, `${name}:${next.id}`);
    }
  }

  /** Sends GOAWAY. */
  async goAway(lastStream: number, code: number = CODE.NO_ERROR): Promise<void> {
    await this.write(FRAME.GOAWAY, 0, 0, [...uint32(lastStream), ...uint32(code)]);
  }
}

/** Runs a script on each connection, then closes it. */
export function rawHttp2Upstream(
  script: (http2: RawHttp2, index: number) => Promise<void>,
  settings: readonly number[] | null = [],
): RawUpstream {
  return rawUpstream(async (connection, index) => {
    const http2 = new RawHttp2(connection);
    if (settings !== null) await http2.begin(settings);
    await script(http2, index);
  });
}

/** A setting for the maximum number of concurrent streams. */
export function maxStreams(count: number): number[] {
  return [SETTING.MAX_CONCURRENT_STREAMS, count];
}

/** The content of DATA frames as text. */
export function textOf({ payload }: RawFrame): string {
  return latin1Text(payload as Uint8Array<ArrayBuffer>);
}
