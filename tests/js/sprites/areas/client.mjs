// Sprites as a whole: create, look up, list, update, watch, delete; and how errors reach the client.

import { assert, once } from "../harness.mjs";

export default function (area) {
  area.check(["SpritesClient.createSprite", "SpritesClient.getSprite", "SpritesClient.sprite"], async ({ client }) => {
    const made = await client.createSprite("client-made", { labels: ["a", "b"], environment: { COLOR: "green" } });
    assert.equal(made.name, "client-made");
    assert.deepEqual(made.labels, ["a", "b"]);
    const found = await client.getSprite("client-made");
    assert.equal(found.id, made.id);
    assert.ok(found.createdAt instanceof Date && found.createdAt <= new Date());
    const { stdout } = await client.sprite("client-made").execFile("sh", ["-c", "echo $COLOR"]);
    assert.equal(stdout, "green\n");
  });

  area.check(["SpritesClient.listSprites", "SpritesClient.listAllSprites"], async ({ client }) => {
    for (const name of ["listed-1", "listed-2", "listed-3"]) await client.createSprite(name);
    const first = await client.listSprites({ prefix: "listed-", maxResults: 2 });
    assert.deepEqual(
      first.sprites.map((sprite) => sprite.name),
      ["listed-1", "listed-2"],
    );
    assert.ok(first.hasMore);
    const { sprites, hasMore } = await client.listSprites({
      prefix: "listed-",
      continuationToken: first.nextContinuationToken,
    });
    assert.deepEqual([sprites.map((sprite) => sprite.name), hasMore], [["listed-3"], false]);
    assert.equal((await client.listAllSprites("listed-")).length, 3);
  });

  area.check(["SpritesClient.deleteSprite", "Sprite.delete", "Sprite.destroy"], async ({ client }) => {
    for (const name of ["gone-1", "gone-2", "gone-3"]) await client.createSprite(name);
    await client.deleteSprite("gone-1");
    await client.sprite("gone-2").delete();
    await client.sprite("gone-3").destroy();
    assert.deepEqual(await client.listAllSprites("gone-"), []);
    await assert.rejects(client.getSprite("gone-1"), { name: "APIError", statusCode: 404 });
  });

  area.check(["parseAPIError"], async ({ sdk, baseURL }) => {
    const response = await fetch(`${baseURL}/v1/sprites`);
    const error = sdk.parseAPIError(response.status, await response.text(), Object.fromEntries(response.headers));
    assert.equal(error.statusCode, 401);
    assert.equal(error.errorCode, "unauthorized");
  });

  area.notRun(
    ["SpritesClient.createToken"],
    "exchanges a Fly.io macaroon at a host that is fixed in the SDK; a host of Roost has the one token it was started with",
  );
  area.check(
    ["SpritesClient.updateSprite", "SpritesClient.updateURLSettings", "Sprite.update", "Sprite.updateURLSettings"],
    async ({ client, sprite }) => {
      assert.equal(sprite.urlSettings.auth, "sprite");
      const labelled = await sprite.update({ labels: ["x", "y"] });
      assert.deepEqual([labelled.labels, labelled.urlSettings.auth], [["x", "y"], "sprite"]);
      assert.ok(labelled.updatedAt >= labelled.createdAt);
      await client.updateURLSettings(sprite.name, { auth: "public" });
      assert.equal((await client.getSprite(sprite.name)).urlSettings.auth, "public");
      await sprite.updateURLSettings({ auth: "sprite", privateAccess: "admins" });
      const settings = { urlSettings: { auth: "public" }, labels: [] };
      const both = await client.updateSprite(sprite.name, settings);
      assert.deepEqual([both.labels, both.urlSettings], [[], { auth: "public", privateAccess: "admins" }]);
      await assert.rejects(client.updateURLSettings(sprite.name, { auth: "whoever" }), { statusCode: 400 });
    },
  );

  area.check(["SpritesClient.createSprite", "SpritesClient.listSprites"], async ({ client }) => {
    const config = { ramMB: 512, cpus: 2, region: "here", storageGB: 3 };
    const made = await client.createSprite("full", {
      config,
      environment: { keepMyCase: "1" },
      urlSettings: { auth: "public" },
      labels: ["l"],
      waitForCapacity: true,
      runtime: "dev",
    });
    assert.deepEqual([made.config, made.environment], [config, { keepMyCase: "1" }]);
    assert.equal(made.urlSettings.auth, "public");
    assert.match(made.url, /^http:\/\/full\.localhost:\d+\/$/);
    assert.deepEqual([made.status, made.organizationName], ["cold", "roost"]);
    const sizes = await client.createSprite("sized", { ramMB: 64 });
    assert.deepEqual(sizes.config.ramMB, 64);
    const brief = await client.listSprites({ prefix: "full", bulkLoad: true });
    assert.deepEqual([brief.sprites[0].name, brief.sprites[0].url], ["full", undefined]);
    const all = await client.listSprites();
    assert.equal(all.running + all.warm + all.cold, all.sprites.length);
    assert.deepEqual([all.organizationName, all.runningLimit > 0, all.warmLimit > 0], ["roost", true, true]);
    await assert.rejects(client.createSprite("full"), { errorCode: "sprite_already_exists" });
    await assert.rejects(client.createSprite("odd", { runtime: "windows" }), { statusCode: 400 });
  });

  area.check(
    ["SpritesClient.restartSprite", "Sprite.restart", "SpritesClient.checkSprite", "Sprite.check"],
    async ({ client, sprite }) => {
      await sprite.execFile("sh", ["-c", "echo kept > kept"]);
      const command = sprite.spawn("sleep", ["1000"]);
      await once(command, "spawn");
      const restarted = await sprite.restart();
      assert.equal(restarted.spriteName, sprite.name);
      assert.ok(restarted.machineId && restarted.message);
      assert.equal(await command.wait(), 128 + 9);
      assert.equal((await sprite.execFile("cat", ["kept"])).stdout, "kept\n");
      await client.restartSprite(sprite.name);
      const checked = await sprite.check();
      assert.deepEqual([checked.spriteName, checked.spriteId], [sprite.name, sprite.id]);
      assert.equal(checked.status, "healthy");
      assert.ok(checked.checkedAt instanceof Date && checked.elapsed >= 0);
      await assert.rejects(client.checkSprite("absent"), { errorCode: "sprite_not_found" });
    },
  );

  area.check(["SpritesClient.upgradeSprite", "Sprite.upgrade"], async ({ client, sprite }) => {
    await sprite.upgrade();
    await client.upgradeSprite(sprite.name);
    await assert.rejects(client.upgradeSprite("absent"), { statusCode: 404 });
  });

  area.check(
    ["SpritesClient.watchSprites", "SpriteListStream.next", "SpriteListStream.close"],
    async ({ client }) => {
      const watched = await client.createSprite("watched");
      const states = await client.watchSprites({ prefix: "watched" });
      const first = await states.next();
      assert.deepEqual([first.name, first.status], ["watched", "cold"]);
      assert.ok(first.timestamp instanceof Date && first.organization.cold > 0);
      assert.equal((await states.next()).type, "heartbeat");
      const command = watched.spawn("sleep", ["1000"]);
      await once(command, "spawn");
      const running = await states.next();
      assert.equal(running.status, "running");
      assert.ok(running.lastRunningAt instanceof Date && running.organization.running > 0);
      command.kill("SIGKILL");
      const warm = await states.next();
      assert.deepEqual([warm.status, warm.lastWarmingAt instanceof Date], ["warm", true]);
      await watched.restart();
      assert.equal((await states.next()).status, "cold");
      await watched.delete();
      assert.equal((await states.next()).status, "deleted");
      states.close();
      assert.equal(await states.next(), null);
    },
  );

  area.check(
    ["SpriteListStream.processAll", "SpriteListStream.[Symbol.asyncIterator]"],
    async ({ client, sprite }) => {
      const seen = [];
      const states = await client.watchSprites({ prefix: sprite.name, maxResults: 1 });
      await states.processAll((event) => {
        seen.push(event.name ?? event.type);
        if (event.type === "heartbeat") states.close();
      });
      assert.deepEqual(seen, [sprite.name, "heartbeat"]);
      for await (const event of await client.watchSprites({ prefix: sprite.name })) {
        assert.equal(event.name, sprite.name);
        break;
      }
    },
  );

  area.check(
    [
      "APIError.isRateLimitError",
      "APIError.isCreationRateLimited",
      "APIError.isConcurrentLimitExceeded",
      "APIError.getRetryAfterSeconds",
    ],
    async ({ sdk, limitedURL, token }) => {
      // A host of two sprites, of which one may run, and of three creations a minute.
      const limited = new sdk.SpritesClient(token, { baseURL: limitedURL });
      const refused = (promise) => promise.then(assert.fail, (error) => error);
      const one = await limited.createSprite("one");
      const two = await limited.createSprite("two");
      const full = await refused(limited.createSprite("three"));
      assert.ok(full instanceof sdk.APIError && full.isRateLimitError() && full.isConcurrentLimitExceeded());
      assert.deepEqual([full.limit, full.currentCount, full.isCreationRateLimited()], [2, 2, false]);
      await two.delete();
      await limited.createSprite("two");
      await two.delete();
      const fast = await refused(limited.createSprite("two"));
      assert.ok(fast.isRateLimitError() && fast.isCreationRateLimited() && !fast.isConcurrentLimitExceeded());
      const wait = fast.getRetryAfterSeconds();
      assert.ok(wait > 0 && wait <= 60 && wait === fast.retryAfterHeader, `${wait}`);
      assert.deepEqual([fast.limit, fast.windowSeconds], [3, 60]);
      assert.deepEqual([fast.rateLimitLimit, fast.rateLimitRemaining], [3, 0]);
      assert.ok(Math.abs(fast.rateLimitReset - Date.now() / 1000 - wait) < 5);
      await one.delete();
    },
  );
}
