"""One file a migration. One that has been released is never changed."""
