"""ResNets: built, loaded, fed, and measured."""
