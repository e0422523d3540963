import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection } from "../../static/connection.js";
import { Lanes } from "../../static/lanes.js";
import { latestVersions, nextVersion, versionOf } from "../../static/versions.js";

test("a connection that is lost for a blink is not spoken of", () => {
  const connection = new Connection();
  const look = (phase, now, more = {}) => connection.look({ phase, ...more }, now);

  assert.deepEqual(look("connecting", 0), { status: "connecting", text: "", banner: "" });
  assert.equal(look("live", 10).text, "Live");
  assert.deepEqual(look("reconnecting", 100), { status: "live", text: "Live", banner: "" });
  assert.deepEqual(look("waiting", 2099), { status: "live", text: "Live", banner: "" });
  const lost = look("waiting", 2100, { until: 5100 });
  assert.equal(lost.status, "offline");
  assert.equal(lost.banner, "The server cannot be reached. What you send is kept. Next attempt in 3 s.");
  assert.equal(look("live", 3000).banner, "");
  assert.equal(look("reconnecting", 3001).banner, "", "it begins anew");
});

test("who is offline is told so, and a server's own reason is told", () => {
  const lost = (...more) => {
    const connection = new Connection();
    connection.look({ phase: "waiting" }, 1);
    return connection.look(...more).banner;
  };

  assert.match(lost({ phase: "waiting" }, 3000, false), /^You are offline\./);
  assert.match(lost({ phase: "waiting", reason: { code: "draining", detail: "It restarts." } }, 3000), /^It restarts\./);
  assert.match(lost({ phase: "failed" }, 3000), /is kept\.$/);
});

test("a message stays where it began, whatever starts meanwhile", () => {
  const lanes = new Lanes();
  const ids = (outgoing, isBusy) => {
    const { direct, queued } = lanes.part(outgoing, isBusy);
    return [direct, queued].map((list) => list.map(({ message_id }) => message_id));
  };
  const [one, two] = [{ message_id: "one" }, { message_id: "two" }];

  assert.deepEqual(ids([one], false), [["one"], []]);
  assert.deepEqual(ids([one, two], true), [["one"], ["two"]]);
});

test("versions of a message share an id and are counted", () => {
  assert.equal(nextVersion("m"), "m.v2");
  assert.equal(nextVersion("m.v2"), "m.v3");
  assert.deepEqual(versionOf("m.v12"), { root: "m", version: 12 });
  assert.deepEqual([...latestVersions(["m", "m.v2", "m.v3", "n"])], [["m", 3]]);
});
