/** The schema of a pool. */

import * as v from "valibot";
import { formatAddress, parseAddress } from "../../upstream/address.ts";
import type { PoolOptions } from "../proxy_config.ts";
import { findPeerProblem, type Way } from "../../filter/resolve_peer.ts";
import { balancingEntries, checkBalancing } from "./balancing_schema.ts";
import { byteSizeSchema } from "./byte_size_schema.ts";
import { mustBe } from "./messages.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";
import { serverSchema } from "./server_schema.ts";
import { stickySchema } from "./sticky_schema.ts";
import { retriesSchema } from "./retries_schema.ts";
import { timeoutsSchema } from "./timeouts_schema.ts";
import { tlsSchema } from "./tls_schema.ts";
import { checkWebSocket, webSocketSchema } from "./web_socket_schema.ts";
import { checkTransport, transportEntries } from "./transport_schema.ts";

const POOL_EXPECTED = 'an object with "servers"';

function addressOf(server: unknown): string | undefined {
  const text = isRecord(server) ? server.address : server;
  return typeof text === "string" ? text : undefined;
}

function weightOf(server: unknown): unknown {
  return isRecord(server) ? server.weight : 1;
}

/** Servers that are there at all, each of them once. */
const serversSchema: v.GenericSchema = v.pipe(
  v.array(serverSchema, mustBe('an array of "host:port"')),
  v.minLength(1, mustBe("an array of at least one server")),
  v.rawCheck(({ dataset, addIssue }) => {
    const servers: unknown = dataset.value;
    if (!Array.isArray(servers) || servers.length === 0) return;
    if (servers.every((server) => weightOf(server) === 0)) {
      addIssue({ message: "must have a server with a weight above 0" });
    }
    const seen = new Map<string, number>();
    servers.forEach((server, index) => {
      const parsed = parseAddress(addressOf(server) ?? "");
      if (parsed === undefined) return;
      const id = formatAddress(parsed.address).toLowerCase();
      const first = seen.get(id);
      if (first === undefined) return void seen.set(id, index);
      addIssue({ message: `is the same server as [${first}]`, path: [pathItem(servers, index)] });
    });
  }),
);

/** Options of a pool that make sense one by one. */
export const poolEntries = {
  servers: v.optional(serversSchema),
  tls: v.optional(tlsSchema),
  sticky: v.optional(stickySchema),
  timeouts: v.optional(timeoutsSchema),
  bufferRequests: v.optional(byteSizeSchema(1, 64 * 1024 * 1024)),
  retries: v.optional(retriesSchema),
  webSocket: v.optional(webSocketSchema),
  ...balancingEntries,
  ...transportEntries,
} satisfies Record<keyof PoolOptions, v.GenericSchema>;

/**
 * Finds servers whose address and the way to them contradict each other; looks past whatever else is wrong.
 *
 * @param below what the servers are in, when that is what is checked
 */
function checkPeers(
  servers: unknown,
  way: Way,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
  below?: v.IssuePathItem,
): void {
  if (!Array.isArray(servers)) return;
  servers.forEach((server: unknown, index: number) => {
    const parsed = parseAddress(addressOf(server) ?? "");
    if (parsed === undefined) return;
    const message = findPeerProblem(parsed, isRecord(server) ? server.tls : undefined, way);
    if (message === undefined) return;
    const item = pathItem(servers, index);
    addIssue({ message, path: below === undefined ? [item] : [below, item] });
  });
}

/** Servers that are a pool without options. */
export const bareServersSchema: v.GenericSchema = v.pipe(
  serversSchema,
  v.rawCheck(({ dataset, addIssue }) => checkPeers(dataset.value, {}, addIssue)),
);

/** A pool with its options. */
export const poolSchema: v.GenericSchema = v.pipe(
  optionsObject(poolEntries, POOL_EXPECTED),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    checkBalancing(value, addIssue);
    checkTransport(value, addIssue);
    checkWebSocket(value, addIssue);
    checkPeers(value.servers, value, addIssue, pathItem(value, "servers"));
  }),
);
