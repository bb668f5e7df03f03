"""The local side of a download: staging folder, checks of files, destination."""
