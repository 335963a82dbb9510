/** What the proxy has to know of gRPC: which messages are its, and how it tells of errors. */

/** Status codes of gRPC that the proxy uses. */
export const GRPC_STATUS = {
  OK: 0,
  UNKNOWN: 2,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

const BY_HTTP_STATUS: ReadonlyMap<number, number> = new Map([
  [400, GRPC_STATUS.INTERNAL],
  [401, GRPC_STATUS.UNAUTHENTICATED],
  [403, GRPC_STATUS.PERMISSION_DENIED],
  [404, GRPC_STATUS.UNIMPLEMENTED],
  // Not as a client reads a 429 (UNAVAILABLE): many send that again at once, which is the contrary of a limit.
  [413, GRPC_STATUS.RESOURCE_EXHAUSTED],
  [429, GRPC_STATUS.RESOURCE_EXHAUSTED],
  [502, GRPC_STATUS.UNAVAILABLE],
  [503, GRPC_STATUS.UNAVAILABLE],
  [504, GRPC_STATUS.UNAVAILABLE],
]);

/**
 * The status of a call that ended with this status of HTTP: what clients make of it themselves ("HTTP to gRPC Status Code
 * Mapping"), and RESOURCE_EXHAUSTED for what is limited (429) or too large (413).
 */
export function grpcStatusOf(httpStatus: number): number {
  return BY_HTTP_STATUS.get(httpStatus) ?? GRPC_STATUS.UNKNOWN;
}

/** Whether a `content-type` is that of gRPC, whatever its messages are written in; gRPC-Web is another protocol. */
export function isGrpc(contentType: string | null): boolean {
  return contentType !== null && /^application\/grpc(?:$|[+; \t])/i.test(contentType);
}

/** Writes a text as the field `grpc-message` has it: percent-encoded UTF-8 (gRPC over HTTP/2, "Status-Message"). */
export function encodeGrpcMessage(text: string): string {
  return text.toWellFormed().replace(/[^\x20-\x24\x26-\x7e]/gu, (char) => encodeURIComponent(char));
}
