"""What every room may know: identities such as an error, a time or the version. Imports nothing of ours."""
