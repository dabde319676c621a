"""The only code that speaks NATS: streams, subscribers, stores, publishing."""
