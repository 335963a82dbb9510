// gRPC: calls of all four kinds, each balanced by itself, a limit for each method, and health checks by the health service of gRPC
// (grpc.health.v1).
//
// It needs two gRPC servers at the addresses below, such as the "helloworld" example of any language.
//   deno run -A ../mod.ts grpc.config.ts
// "message": "Hello world"; the eleventh call within a second gets RESOURCE_EXHAUSTED:
//   grpcurl -plaintext -proto helloworld.proto -d '{"name": "world"}' 127.0.0.1:6188 helloworld.Greeter/SayHello
//
// There is no TLS on either side here: `listen: { tls }` and "https://" at the servers switch it on.

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  // Without TLS, gRPC clients use HTTP/2 from the first byte on.
  listen: { hostname: "127.0.0.1", port: 6188, http2: true },
  upstreams: {
    greeter: {
      servers: ["127.0.0.1:50051", "127.0.0.1:50052"],
      protocol: "h2",
      balance: "least-connections",
      healthCheck: { type: "grpc", interval: "2s", timeout: "1s" },
      // A stream may be silent for long. Client and server set the deadline of a call themselves.
      timeouts: { response: "1h", idle: "1h" },
    },
  },
  routes: [{
    match: { path: "/helloworld.Greeter/*" },
    upstream: "greeter",
    // The path of a call is its method.
    limiter: { key: "path", limit: 10, window: "1s" },
  }],
});
