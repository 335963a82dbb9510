import { assertEquals } from "@std/assert";
import { compileRewrite, isOriginForm, type RewriteOptions } from "../../../lib/routing/rewrite.ts";

Deno.test("compileRewrite() changes the path, and leaves the query alone", () => {
  const table: [RewriteOptions, string, string][] = [
    [{ stripPrefix: "/api" }, "/api/users?x=/api/", "/users?x=/api/"],
    [{ stripPrefix: "/api/" }, "/api/users", "/users"],
    [{ stripPrefix: "/api" }, "/api", "/"],
    [{ stripPrefix: "/api" }, "/api?a", "/?a"],
    [{ stripPrefix: "/api" }, "/apis", "/apis"],
    [{ stripPrefix: "/api" }, "/api/..%2Fx", "/..%2Fx"],
    [{ stripPrefix: "/api" }, "/api//x", "/x"],
    [{ stripPrefix: "/api" }, "/api/\\x", "/x"],
    [{ stripPrefix: "/api" }, "//api/x", "//api/x"],
    [{ replace: [/^\/go/, ""] }, "/go//evil.example", "/evil.example"],
    [{ stripPrefix: "/api" }, "/x/api", "/x/api"],
    [{ prefix: "/v2" }, "/x?y", "/v2/x?y"],
    [{ prefix: "/v2/" }, "/x", "/v2/x"],
    [{ replace: ["/old", "/$&"] }, "/old/old", "/$&/old"],
    [{ replace: [/\/users\/(\d+)/g, "/u/$1"] }, "/users/1/users/2?/users/3", "/u/1/u/2?/users/3"],
    [{ stripPrefix: "/a", replace: ["/b", "/c"], prefix: "/d" }, "/a/b", "/d/c"],
    [{ replace: ["/a", ""] }, "/a?b", "/?b"],
    [{ replace: [/^\/a\//, ""], prefix: "/c" }, "/a/b", "/c/b"],
    [{}, "/%2e%2e//a;b?c", "/%2e%2e//a;b?c"],
  ];
  for (const [options, target, expected] of table) {
    assertEquals(compileRewrite(options)(target, null), expected, JSON.stringify([options, target]));
  }
});

Deno.test("isOriginForm() refuses what could end the request line or be taken for something else", () => {
  for (const target of ["/", "/a?b", "//x", "/%0d%0a"]) assertEquals(isOriginForm(target), true, target);
  for (const target of ["", "a", "http://h/", "*", "/a b", "/a\r\nx: y", "/a#b", "/\u0000", "/é", 5, null]) {
    assertEquals(isOriginForm(target), false, String(target));
  }
});
