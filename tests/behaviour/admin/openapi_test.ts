import { assert, assertEquals } from "@std/assert";
import { OPERATIONS } from "../../../lib/admin/operations.ts";
import { ADMIN, AdminClient } from "../../support/admin_client.ts";
import { deadPort } from "../../support/dead_port.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

// deno-lint-ignore no-explicit-any -- JSON of any shape
type Json = any;

/** What of a value is not as a JSON Schema says; understands as much as the description needs. */
function mistakes(value: Json, schema: Json, root: Json, path = "$"): string[] {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace("#/components/schemas/", "");
    return mistakes(value, root.components.schemas[name], root, path);
  }
  if (schema.anyOf !== undefined) {
    const tries: string[][] = schema.anyOf.map((each: Json) => mistakes(value, each, root, path));
    return tries.some((each) => each.length === 0) ? [] : tries[0]!;
  }
  if (schema.enum !== undefined) {
    return schema.enum.includes(value) ? [] : [`${path}: ${value} is none of ${schema.enum}`];
  }
  if (schema.const !== undefined) {
    return schema.const === value ? [] : [`${path}: ${value} is not ${schema.const}`];
  }
  const type = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  const wanted = schema.type === "integer" ? "number" : schema.type;
  if (type !== wanted) return [`${path}: ${type} in place of ${schema.type}`];
  if (schema.type === "integer" && !Number.isInteger(value)) return [`${path}: ${value} is not whole`];
  if (type === "array") {
    return (value as Json[]).flatMap((each, i) => mistakes(each, schema.items, root, `${path}[${i}]`));
  }
  if (type !== "object") return [];
  const { properties = {}, required = [], additionalProperties = true } = schema;
  return [
    ...required.filter((name: string) => !Object.hasOwn(value, name)).map((name: string) =>
      `${path}.${name} is missing`
    ),
    ...Object.entries(value).flatMap(([name, each]) => {
      if (Object.hasOwn(properties, name)) return mistakes(each, properties[name], root, `${path}.${name}`);
      if (additionalProperties === false) return [`${path}.${name} is not described`];
      return additionalProperties === true
        ? []
        : mistakes(each, additionalProperties, root, `${path}.${name}`);
    }),
  ];
}

Deno.test("GET /openapi.json describes every operation but the files of the dashboard", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
  const { json } = await new AdminClient(proxy).get("/openapi.json");
  const described = Object.entries(json.paths as Json).flatMap(([path, methods]) =>
    Object.keys(methods as Json).map((method) => `${method.toUpperCase()} ${path}`)
  );
  const known = OPERATIONS.map(({ method, path }) => `${method} ${path}`)
    .filter((name) => !/^GET \/(?:dashboard\.\w+|uplot\.\w+)?$/.test(name));
  assertEquals(described.sort(), known.sort());
  const ids = Object.values(json.paths as Json).flatMap((methods) => Object.values(methods as Json));
  assertEquals(new Set(ids.map(({ operationId }: Json) => operationId)).size, ids.length);
});

Deno.test("GET /openapi.json describes what comes, member by member", async () => {
  await using upstream = startUpstream();
  const servers = [upstream.address, {
    address: `127.0.0.1:${deadPort()}`,
    maxInFlight: 3,
    tags: ["a"],
    backup: true,
  }];
  await using proxy = await startProxy({
    upstreams: { servers, healthCheck: { type: "tcp", interval: "1h" } },
    limiter: { name: "app", key: "header:appid", limit: 2, window: "1h" },
    admin: ADMIN,
  });
  const admin = new AdminClient(proxy);
  for (let n = 0; n < 3; n++) await proxy.ask("GET /", ["appid: me"]);
  await using events = await admin.events();
  await events.until(({ event }) => event === "status");
  await events.until(({ event }) => event === "status");
  const { json: api } = await admin.get("/openapi.json");
  const schemaOf = (path: string, method: string, status: number): Json =>
    Object.values(api.paths[path][method].responses[status].content as Json)[0];
  const asked: [path: string, at: string][] = [
    ["/status", "/status"],
    ["/whoami", "/whoami"],
    ["/config", "/config"],
    ["/limits", "/limits"],
    ["/limits/{policy}/keys", "/limits/app/keys"],
    ["/explain", "/explain?target=/a&header=appid:%20me"],
    ["/healthz", "/healthz"],
    ["/readyz", "/readyz"],
  ];
  for (const [path, at] of asked) {
    const { status, json } = await admin.get(at);
    assertEquals(mistakes(json, schemaOf(path, "get", status).schema, api), [], at);
  }
  const drain = "/pools/{pool}/servers/{server}/drain";
  const done = await admin.post(`/pools/default/servers/${upstream.address}/drain`);
  assertEquals(mistakes(done.json, schemaOf(drain, "post", 200).schema, api), []);
  const refused = await admin.post("/pools/none/servers/a:1/drain");
  assertEquals(mistakes(refused.json, schemaOf(drain, "post", 404).schema, api), []);
  assert(mistakes({ done: 1 }, schemaOf(drain, "post", 200).schema, api).length > 0);
});
