"""Policy packs for UAE data residency and encryption, usable without the rest of Falaj."""
