// Policies: what a sprite may reach, what it may do, what it may use.

export default function (area) {
  area.notRun(
    [
      "Sprite.getNetworkPolicy",
      "Sprite.updateNetworkPolicy",
      "Sprite.getPrivilegesPolicy",
      "Sprite.updatePrivilegesPolicy",
      "Sprite.deletePrivilegesPolicy",
      "Sprite.getResourcesPolicy",
      "Sprite.updateResourcesPolicy",
      "Sprite.deleteResourcesPolicy",
    ],
    "not yet",
  );
}
