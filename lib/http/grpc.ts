/** gRPC as far as the proxy needs it: which messages are gRPC, and how errors are reported. */

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
  // RESOURCE_EXHAUSTED where clients themselves would map 429 to UNAVAILABLE: many retry that at once, which defeats
  // the limit.
  [413, GRPC_STATUS.RESOURCE_EXHAUSTED],
  [429, GRPC_STATUS.RESOURCE_EXHAUSTED],
  [502, GRPC_STATUS.UNAVAILABLE],
  [503, GRPC_STATUS.UNAVAILABLE],
  [504, GRPC_STATUS.UNAVAILABLE],
]);

/**
 * The gRPC status of a call that ended with this HTTP status: as clients map it themselves ("HTTP to gRPC Status Code
 * Mapping"), but RESOURCE_EXHAUSTED for 429 (limited) and 413 (too large).
 */
export function grpcStatusOf(httpStatus: number): number {
  return BY_HTTP_STATUS.get(httpStatus) ?? GRPC_STATUS.UNKNOWN;
}

/** Whether a `content-type` is that of gRPC, with any message encoding; gRPC-Web is another protocol. */
export function isGrpc(contentType: string | null): boolean {
  return contentType !== null && /^application\/grpc(?:$|[+; \t])/i.test(contentType);
}

/** Encodes a text for the field `grpc-message`: percent-encoded UTF-8 (gRPC over HTTP/2, "Status-Message"). */
export function encodeGrpcMessage(text: string): string {
  return text.toWellFormed().replace(/[^\x20-\x24\x26-\x7e]/gu, (char) => encodeURIComponent(char));
}
