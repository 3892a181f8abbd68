"""Policy packs for UAE data residency, encryption and hardening, usable without Falaj."""

VERSION = "0.1.0"
