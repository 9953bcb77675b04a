"""The lock that allows one run at a time in a results folder: `Lock` on a disk and `Claims` in an object store."""

from sweep.store.lock.claims import Claims as Claims
from sweep.store.lock.disk import Lock as Lock
from sweep.store.lock.folder_lock import FolderLock as FolderLock
from sweep.store.lock.folder_lock import LockedError as LockedError
