import { defineConfig } from "../../mod.ts";

const { FAULTS_LISTEN = "6188", FAULTS_ADMIN = "6189", FAULTS_SERVERS = "", FAULTS_REDIS = "" } = Deno.env
  .toObject();

/** More than ever run at the same time: permits that are missing at the end were not released. */
const PERMITS = 100_000;

export default defineConfig({
  listen: `127.0.0.1:${FAULTS_LISTEN}`,
  admin: `127.0.0.1:${FAULTS_ADMIN}`,
  upstreams: {
    servers: FAULTS_SERVERS.split(","),
    timeouts: { connect: "1s", response: "1s" },
  },
  limiter: {
    name: "permits",
    key: "ip",
    algorithm: "concurrency",
    limit: PERMITS,
    headers: ["x-ratelimit"],
    ...(FAULTS_REDIS === "" ? {} : { store: { type: "redis", url: FAULTS_REDIS, onStoreError: "open" } }),
  },
});
