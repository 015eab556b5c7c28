// A small service worker for the payload of Headrace: shows it, and reports taps.
const params = new URL(self.location.href).searchParams;

function track(eventType, notificationId, properties) {
  return fetch(`${params.get("api")}/v1/track`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-sendrealm-sdk": "test/1" },
    body: JSON.stringify({
      app_id: params.get("app"),
      device_id: params.get("device"),
      platform: "web",
      event_type: eventType,
      notification_id: notificationId,
      properties,
    }),
  });
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const { notification, metadata, data, actions } = event.data.json().sendrealm_v1;
  event.waitUntil(
    self.registration.showNotification(notification.title, {
      body: notification.body,
      // The same id at a repeat: it replaces the shown one.
      tag: metadata.notification_id,
      data: { metadata, data },
      actions: actions.slice(0, 2).map(({ id, text }) => ({ action: id, title: text })),
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  const id = event.notification.data.metadata.notification_id;
  event.notification.close();
  const properties = event.action ? { action_id: event.action } : {};
  event.waitUntil(
    Promise.all([track("open", id, properties), track("click", id, properties)]),
  );
});
