"""Push apps, their devices, and notifications."""
