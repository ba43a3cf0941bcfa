"""Where a version's files may come from: one module a scheme, and what they share. What is in the files is not judged
here: they are scanned as any that lie on this machine."""
