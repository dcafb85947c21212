// Policies: what a sprite may reach, what it may do, what it may use.

import { assert } from "../harness.mjs";

const refused = (promise, pattern) => assert.rejects(promise, (error) => pattern.test(error.message));

export default function (area) {
  area.check(["Sprite.getNetworkPolicy", "Sprite.updateNetworkPolicy"], async ({ sprite }) => {
    assert.deepEqual(await sprite.getNetworkPolicy(), { rules: [{ include: "defaults" }] });
    const rules = [
      { include: "defaults" },
      { domain: "*.example.com", action: "allow" },
      { domain: "bad.example.com", action: "deny" },
    ];
    await sprite.updateNetworkPolicy({ rules });
    assert.deepEqual(await sprite.getNetworkPolicy(), { rules });
    await refused(sprite.updateNetworkPolicy({ rules: [{ domain: "no domain", action: "allow" }] }), /Invalid policy/);
    // It holds for what runs already: the proxy of the sprite says no by its name.
    await sprite.updateNetworkPolicy({ rules: [] });
    const asked = await sprite.execFile("bash", ["-c", "curl -sS --max-time 10 https://crates.io 2>&1; true"]);
    assert.match(asked.stdout, /403|could ?n[o']t resolve/i);
  });

  area.check(
    ["Sprite.getPrivilegesPolicy", "Sprite.updatePrivilegesPolicy", "Sprite.deletePrivilegesPolicy"],
    async ({ sprite }) => {
      const before = await sprite.getPrivilegesPolicy();
      await sprite.updatePrivilegesPolicy({ profile: "minimal", noNewPrivileges: true });
      const minimal = await sprite.getPrivilegesPolicy();
      assert.deepEqual([minimal.profile, minimal.noNewPrivileges], ["minimal", true]);
      await refused(sprite.updatePrivilegesPolicy({ profile: "privileged" }), /standard profile/);
      await refused(sprite.updatePrivilegesPolicy({ devices: ["/dev/kvm"] }), /no sprite a device/);
      await sprite.deletePrivilegesPolicy();
      assert.deepEqual(await sprite.getPrivilegesPolicy(), before);
    },
  );

  area.check(
    ["Sprite.getResourcesPolicy", "Sprite.updateResourcesPolicy", "Sprite.deleteResourcesPolicy"],
    async ({ sprite }) => {
      assert.deepEqual(await sprite.getResourcesPolicy(), { memory: undefined });
      await sprite.updateResourcesPolicy({ memory: { limitMB: 256 } });
      assert.equal((await sprite.getResourcesPolicy()).memory.limitMB, 256);
      await refused(sprite.updateResourcesPolicy({ memory: { limitMB: 1 } }), /limit_mb/);
      await sprite.deleteResourcesPolicy();
      assert.deepEqual(await sprite.getResourcesPolicy(), { memory: undefined });
    },
  );
}
