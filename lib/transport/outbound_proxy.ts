/** Proxies between this one and the servers: their notation, and connecting through them. */

import { makeHextets, readIpAddress } from "../http/ip_address.ts";
import { type Address, formatAddress } from "../upstream/peer.ts";
import { closeSocket, connectTcp } from "./http1/dial.ts";

/** A proxy through which servers are reached. */
export interface OutboundProxy {
  /** Its protocol: `CONNECT` and absolute targets (RFC 9110 section 9.3.6), or SOCKS version 5 (RFC 1928). */
  readonly scheme: "http" | "socks5";
  readonly hostname: string;
  readonly port: number;
  /** Name and password for the proxy; `null` for none. */
  readonly credentials: { readonly username: string; readonly password: string } | null;
}

/** Accepted forms of a proxy's address, for error messages. */
export const PROXY_EXPECTED = '"http://host:port" or "socks5://host:port"';

const PROXY =
  /^(http|socks5):\/\/(?:([^/?#@:]*):([^/?#@]*)@)?(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/?#@[\],]+)):(\d{1,5})\/?$/;

/** Parses `http://host:port` or `socks5://host:port`, each with or without `user:password@`; `undefined` otherwise. */
export function parseProxy(text: string): OutboundProxy | undefined {
  const match = PROXY.exec(text);
  if (match === null) return undefined;
  const [, scheme, username, password, ipv6, name] = match;
  const port = Number(match[6]);
  if (port < 1 || port > 65535) return undefined;
  let credentials: OutboundProxy["credentials"] = null;
  if (username !== undefined && password !== undefined) {
    try {
      credentials = Object.freeze({
        username: decodeURIComponent(username),
        password: decodeURIComponent(password),
      });
    } catch {
      return undefined;
    }
  }
  return Object.freeze({
    scheme: scheme as OutboundProxy["scheme"],
    hostname: (ipv6 ?? name)!,
    port,
    credentials,
  });
}

/**
 * Describes the address of a proxy that can be used, with a hint for the received text; `undefined` if that one can be.
 */
export function expectedProxy(text: string): string | undefined {
  const proxy = parseProxy(text);
  if (proxy === undefined) return PROXY_EXPECTED;
  const { scheme, credentials } = proxy;
  if (scheme !== "socks5" || credentials === null) return undefined;
  if (fitsSocks(credentials.username) && fitsSocks(credentials.password)) return undefined;
  const most = `at most ${MAX_SOCKS_BYTES} bytes each of user and password`;
  return `"socks5://user:password@host:port" with ${most}`;
}

/** Most bytes of a name, a user or a password: their length is sent in one byte (RFC 1928, RFC 1929). */
export const MAX_SOCKS_BYTES = 255;

/** Whether a text can be sent to a SOCKS proxy. */
export function fitsSocks(text: string): boolean {
  return encoder.encode(text).length <= MAX_SOCKS_BYTES;
}

/** The text of a proxy for messages, without its password. */
export function formatProxy({ scheme, hostname, port, credentials }: OutboundProxy): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `${scheme}://${credentials === null ? "" : "***@"}${host}:${port}`;
}

type TcpAddress = Extract<Address, { kind: "tcp" }>;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const MAX_HEAD_BYTES = 8192;

/**
 * Connects to an address through a proxy.
 *
 * @throws {Deno.errors.ConnectionRefused} when the proxy does not connect to it
 */
export async function dialByProxy(
  proxy: OutboundProxy,
  address: TcpAddress,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const { hostname, port } = proxy;
  const conn = await connectTcp(hostname, port, signal);
  const close = (): void => closeSocket(conn);
  signal.addEventListener("abort", close);
  try {
    // It may have aborted since the end of `connectTcp`.
    signal.throwIfAborted();
    await (proxy.scheme === "http"
      ? connectByHttp(conn, proxy, address)
      : connectBySocks(conn, proxy, address));
    signal.throwIfAborted();
    return conn;
  } catch (error) {
    close();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/** RFC 9110 section 9.3.6. */
async function connectByHttp(conn: Deno.Conn, proxy: OutboundProxy, address: TcpAddress): Promise<void> {
  const authority = formatAddress(address);
  const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`];
  if (proxy.credentials !== null) lines.push(`Proxy-Authorization: Basic ${basicOf(proxy.credentials)}`);
  await write(conn, encoder.encode(`${lines.join("\r\n")}\r\n\r\n`));
  const head: number[] = [];
  // Byte by byte: the bytes after the head are those of the server.
  while (!endsHead(head)) {
    if (head.length === MAX_HEAD_BYTES) throw refused("its response is too long");
    head.push((await read(conn, 1))[0]!);
  }
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(decoder.decode(Uint8Array.from(head)))?.[1];
  if (status === undefined) throw refused("it does not speak HTTP");
  if (!status.startsWith("2")) throw refused(`it responded with the status ${status}`);
}

function endsHead(bytes: readonly number[]): boolean {
  return bytes.at(-1) === 10 && bytes.at(-2) === 13 && bytes.at(-3) === 10 && bytes.at(-4) === 13;
}

function basicOf({ username, password }: NonNullable<OutboundProxy["credentials"]>): string {
  return encoder.encode(`${username}:${password}`).toBase64();
}

/** RFC 1928, and RFC 1929 if the proxy requires a password. */
async function connectBySocks(conn: Deno.Conn, proxy: OutboundProxy, address: TcpAddress): Promise<void> {
  const { credentials } = proxy;
  await write(conn, credentials === null ? Uint8Array.of(5, 1, 0) : Uint8Array.of(5, 2, 0, 2));
  const [version, method] = await read(conn, 2);
  if (version !== 5) throw refused("it does not speak SOCKS 5");
  if (method === 2 && credentials !== null) {
    const { username, password } = credentials;
    await write(conn, Uint8Array.of(1, ...lengthPrefixed(username), ...lengthPrefixed(password)));
    if ((await read(conn, 2))[1] !== 0) throw refused("it does not take the password");
  } else if (method !== 0) throw refused("it wants to know who we are");
  await write(conn, Uint8Array.of(5, 1, 0, ...destination(address)));
  const [, reply, , kind] = await read(conn, 4);
  if (reply !== 0) throw refused(`it responded with the reply ${reply}`);
  const bound = kind === 1 ? 4 : kind === 4 ? 16 : (await read(conn, 1))[0]!;
  await read(conn, bound + 2);
}

/** The address and port in SOCKS format (RFC 1928 section 5); a name is resolved by the proxy. */
function destination({ hostname, port }: TcpAddress): number[] {
  return [...hostOf(hostname), port >> 8, port & 255];
}

function hostOf(hostname: string): number[] {
  const hextets = makeHextets();
  // The bytes have no place for the zone of an address.
  const version = hostname.includes("%") ? 0 : readIpAddress(hostname, hextets);
  if (version === 0) return [3, ...lengthPrefixed(hostname)];
  const bytes = Array.from(hextets).flatMap((hextet) => [hextet >> 8, hextet & 255]);
  return version === 4 ? [1, ...bytes.slice(-4)] : [4, ...bytes];
}

function lengthPrefixed(text: string): number[] {
  const bytes = encoder.encode(text);
  if (bytes.length > MAX_SOCKS_BYTES) {
    throw refused(`SOCKS takes no text of more than ${MAX_SOCKS_BYTES} bytes`);
  }
  return [bytes.length, ...bytes];
}

async function read(conn: Deno.Conn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const count = await conn.read(bytes.subarray(filled));
    if (count === null) throw refused("it closed the connection");
    filled += count;
  }
  return bytes;
}

async function write(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
}

function refused(found: string): Error {
  return new Deno.errors.ConnectionRefused(`The proxy does not lead to the server: ${found}`);
}
