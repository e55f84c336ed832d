"""Final replies: delivered, or kept until they are."""
