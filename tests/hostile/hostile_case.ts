/** What hostile requests are made of. */

/** What one client sends over one connection, and what has to come of it. */
export interface HostileCase {
  readonly name: string;
  /** One character a byte. */
  readonly bytes: string;
  /** Statuses of the responses, in order; then the connection ends. */
  readonly statuses: readonly number[];
  /** Start lines of the requests that servers get whole, in order. */
  readonly served: readonly string[];
  /** Whether a server may get the beginning of a request whose content turns out wrong. */
  readonly begun: boolean;
}

/** Bytes that get one status, and of which servers see nothing. */
export function refused(status: number, cases: Readonly<Record<string, string>>): HostileCase[] {
  return Object.entries(cases).map(([name, bytes]) => ({
    name,
    bytes,
    statuses: [status],
    served: [],
    begun: false,
  }));
}

/** A request whose head is right and whose content is wrong; a server may have got its beginning by then. */
export function brokenContent(status: number, cases: Readonly<Record<string, string>>): HostileCase[] {
  return refused(status, cases).map((each) => ({ ...each, begun: true }));
}

/** Bytes that look odd and are in order: those requests reach servers, and nothing else. */
export function served(name: string, bytes: string, ...startLines: string[]): HostileCase {
  return { name, bytes, statuses: startLines.map(() => 200), served: startLines, begun: false };
}

/** A GET with these lines behind its `Host`, or with these alone. */
export function get(...lines: string[]): string {
  const host = lines.some((line) => /^\s*host/i.test(line)) ? [] : ["Host: h"];
  return ["GET /hostile HTTP/1.1", ...host, ...lines, "", ""].join("\r\n");
}

/** A request with this request line and a good `Host`. */
export function asked(requestLine: string): string {
  return `${requestLine}\r\nHost: h\r\n\r\n`;
}

/** A POST with these lines, and what comes behind its head. */
export function post(lines: readonly string[], behind: string): string {
  return ["POST /hostile HTTP/1.1", "Host: h", ...lines, "", behind].join("\r\n");
}

/** A POST whose chunked content is this. */
export function chunked(content: string): string {
  return post(["Transfer-Encoding: chunked"], content);
}

/** What a smuggler wants a server to see. */
export const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
/** The last request of a connection. */
export const LAST = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
export const LAST_LINE = "GET /last HTTP/1.1";
