"""What tests share: the oracles, random cases, files made by hand, processes, places."""
